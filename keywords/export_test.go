package keywords

func Encode[T Type](k Keyword[T], v T) any          { return k.encode(v) }
func Decode[T Type](k Keyword[T], v any) (T, error) { return k.decode(v) }

var Near = near
