package main

import (
	"os"
	"strings"
)

// list returns the regular files below dir, named as find(1) names them, and
// what could not be looked into. It does not follow symbolic links, dir
// included.
func list(dir string) (files []string, bad []error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, []error{err}
	}
	var walk func(path string, mode os.FileMode)
	walk = func(path string, mode os.FileMode) {
		if mode.IsRegular() {
			files = append(files, path)
		}
		if !mode.IsDir() {
			return
		}
		entries, err := os.ReadDir(path) // what it has read before an error, too
		if err != nil {
			bad = append(bad, err)
		}
		if !strings.HasSuffix(path, "/") {
			path += "/"
		}
		for _, e := range entries {
			walk(path+e.Name(), e.Type())
		}
	}
	walk(dir, info.Mode())
	return files, bad
}
