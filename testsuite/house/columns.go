package house

import (
	"fmt"
	"go/scanner"
	"go/token"
	"strings"
	"unicode/utf8"
)

// MaxColumns is where a line ends. A tab is one column, since everybody reads it at another width.
const MaxColumns = 120

// overlong finds lines that are too long. What a raw string holds is as it is, and in tests what any string holds: a
// table of stanzas is read along its rows.
func overlong(f *File) []string {
	var found []string
	free := f.inStrings()
	n := 0
	for line := range strings.Lines(string(f.source)) {
		n++
		if columns := utf8.RuneCountInString(strings.TrimRight(line, "\n")) - free[n]; columns > MaxColumns {
			found = append(found, fmt.Sprintf("%s:%d: %d columns; %d at most", f.Path, n, columns, MaxColumns))
		}
	}
	return found
}

// inStrings is how many columns of a line, which counts from 1, belong to strings that cannot be broken.
func (f *File) inStrings() map[int]int {
	free := map[int]int{}
	test := f.Test() || strings.HasPrefix(f.Path, "testsuite/")
	set := token.NewFileSet()
	file := set.AddFile(f.Path, set.Base(), len(f.source))
	var s scanner.Scanner
	s.Init(file, f.source, nil, 0)
	for {
		pos, t, text := s.Scan()
		if t == token.EOF {
			return free
		}
		if t != token.STRING || !test && text[0] != '`' {
			continue
		}
		at := file.Line(pos)
		for line := range strings.Lines(text) {
			free[at] += utf8.RuneCountInString(strings.TrimRight(line, "\n"))
			at++
		}
	}
}
