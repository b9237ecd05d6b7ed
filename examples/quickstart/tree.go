package main

import (
	"os"
	"strings"
)

// list returns the regular files below dir, with the paths that find(1) prints, and the
// errors of folders that could not be read. It follows no symbolic links, not even dir.
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
		entries, err := os.ReadDir(path) // it also returns the entries read before an error
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
