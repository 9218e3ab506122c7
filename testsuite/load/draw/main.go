// Command draw draws what testsuite/load/growth and testsuite/load/soak have kept as lines of JSON:
//
//	go run ./testsuite/load/draw -out FOLDER growth.jsonl soak.jsonl
//
// Each kind of measurement is one page; measurements of the same point are drawn by their median.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"jackdaw/testsuite/load/plot"
	"jackdaw/testsuite/load/stage"
)

// A line is one of the files': What says which tool wrote it. Of growth, Axis is what grows and At how far; of soak,
// Server is the server that was looked at.
type line struct {
	What   string             `json:"what"`
	Axis   string             `json:"axis"`
	At     float64            `json:"at"`
	Server string             `json:"server"`
	Time   time.Time          `json:"time"`
	Values map[string]float64 `json:"values"`
}

func main() {
	out := flag.String("out", ".", "folder of the pages")
	note := flag.String("note", "", "a line for each page, besides its date: of the machine, say")
	flag.Parse()
	if err := draw(*out, *note, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "draw: %v\n", err)
		os.Exit(1)
	}
}

func draw(dir, note string, files []string) error {
	var all []line
	for _, name := range files {
		lines, err := stage.Lines[line](name)
		if err != nil {
			return err
		}
		all = append(all, lines...)
	}
	for name, page := range pages(all) {
		if note != "" {
			page.Note += "; " + note
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), page.SVG(), 0o644); err != nil {
			return err
		}
		fmt.Println(filepath.Join(dir, name+".svg"))
	}
	return nil
}

// pages are those for which there are lines, by the names of their files.
func pages(all []line) map[string]plot.Page {
	made := map[string]plot.Page{}
	for _, axis := range axes {
		if lines := of(all, func(l line) bool { return l.What == "growth" && l.Axis == axis.name }); len(lines) > 0 {
			made["growth-"+axis.name] = growth(axis, lines)
		}
	}
	if lines := of(all, func(l line) bool { return l.What == "soak" }); len(lines) > 0 {
		made["soak"] = soak(lines)
	}
	return made
}

func of(all []line, holds func(line) bool) (some []line) {
	for _, l := range all {
		if holds(l) {
			some = append(some, l)
		}
	}
	return some
}
