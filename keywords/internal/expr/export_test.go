package expr

var FoldRune = foldRune
