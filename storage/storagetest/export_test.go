package storagetest

var Leaked = leaked
