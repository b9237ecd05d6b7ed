// Api compares the exported surface of each public package with the golden file
// of that package in .ci/api, one declaration a line, and prints what differs.
// With -write it writes the golden files instead.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/heliograph/heliograph"

func main() {
	write := flag.Bool("write", false, "write the golden files")
	flag.Parse()
	if err := run(*write); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(write bool) error {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}\t{{.Dir}}", "./...").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	known := map[string]bool{}
	differ := false
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		name := strings.TrimPrefix(path, module+"/")
		if name == module || strings.Contains("/"+name+"/", "/internal/") || strings.HasPrefix(name, "examples/") {
			continue
		}
		lines, err := surface(dir)
		if err != nil {
			return err
		}
		file := filepath.Join(".ci", "api", strings.ReplaceAll(name, "/", "-")+".txt")
		known[file] = true
		if write {
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				return err
			}
			continue
		}
		golden, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%w: run go run ./.ci/api -write", err)
		}
		differ = diff(name, strings.Split(strings.TrimSpace(string(golden)), "\n"), lines) || differ
	}
	files, err := filepath.Glob(filepath.Join(".ci", "api", "*.txt"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if !known[file] {
			return fmt.Errorf("%s: no such package: remove the file", file)
		}
	}
	if differ {
		return fmt.Errorf("the exported surface has changed: if that is meant, run go run ./.ci/api -write and commit the result")
	}
	return nil
}

// diff prints the lines that only one of two sorted lists has.
func diff(name string, golden, now []string) (differ bool) {
	for _, line := range golden {
		if !slices.Contains(now, line) {
			fmt.Printf("%s: - %s\n", name, line)
			differ = true
		}
	}
	for _, line := range now {
		if !slices.Contains(golden, line) {
			fmt.Printf("%s: + %s\n", name, line)
			differ = true
		}
	}
	return differ
}

// surface returns the exported declarations of the package in a folder, sorted.
func surface(dir string) (lines []string, err error) {
	fset := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
					d.Body, d.Doc = nil, nil
					lines = append(lines, text(fset, d))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					lines = append(lines, declared(fset, d.Tok, spec)...)
				}
			}
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil // files of other systems declare the same
}

// declared returns the lines of a constant, variable or type.
func declared(fset *token.FileSet, kind token.Token, spec ast.Spec) (lines []string) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for i, name := range s.Names {
			if !name.IsExported() {
				continue
			}
			line := kind.String() + " " + name.Name
			if s.Type != nil {
				line += " " + text(fset, s.Type)
			}
			if kind == token.CONST && i < len(s.Values) {
				line += " = " + text(fset, s.Values[i])
			}
			lines = append(lines, line)
		}
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return nil
		}
		head := "type " + s.Name.Name
		if s.TypeParams != nil {
			var params []string
			for _, f := range s.TypeParams.List {
				for _, n := range f.Names {
					params = append(params, n.Name+" "+text(fset, f.Type))
				}
			}
			head += "[" + strings.Join(params, ", ") + "]"
		}
		if s.Assign.IsValid() {
			head += " ="
		}
		fields, kind := (*ast.FieldList)(nil), ""
		switch t := s.Type.(type) {
		case *ast.StructType:
			fields, kind = t.Fields, "struct"
		case *ast.InterfaceType:
			fields, kind = t.Methods, "interface"
		default:
			return []string{head + " " + text(fset, s.Type)}
		}
		lines = append(lines, head+" "+kind)
		for _, f := range fields.List {
			tag := ""
			if f.Tag != nil {
				tag = " " + f.Tag.Value
			}
			if len(f.Names) == 0 {
				if kind == "interface" || ast.IsExported(strings.TrimPrefix(text(fset, f.Type), "*")) {
					lines = append(lines, "type "+s.Name.Name+" "+kind+", embeds "+text(fset, f.Type))
				}
				continue
			}
			for _, n := range f.Names {
				if n.IsExported() {
					lines = append(lines, "type "+s.Name.Name+" "+kind+", "+n.Name+" "+text(fset, f.Type)+tag)
				}
			}
		}
	}
	return lines
}

// receiver returns the name of the type of which a function is a method.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch e := t.(type) {
		case *ast.StarExpr:
			t = e.X
		case *ast.IndexExpr:
			t = e.X
		case *ast.IndexListExpr:
			t = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// text returns a node as source on one line.
func text(fset *token.FileSet, node any) string {
	var b bytes.Buffer
	_ = printer.Fprint(&b, fset, node)
	return strings.Join(strings.Fields(b.String()), " ")
}
