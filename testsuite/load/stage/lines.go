package stage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// Keep appends a value to a file as a line of JSON; without a name it does nothing.
func (s *Stage) Keep(name string, v any) {
	line, err := json.Marshal(v)
	if err == nil {
		err = AppendLine(name, line)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// Lines reads the lines of JSON of a file.
func Lines[T any](name string) (all []T, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		var v T
		if err := json.Unmarshal(in.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, n, err)
		}
		all = append(all, v)
	}
	return all, in.Err()
}
