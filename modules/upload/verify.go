package upload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sumBytes is the length of what comes after the bytes of a file: the CRC-32C of all before. Files of earlier versions
// end without it.
const sumBytes = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A summing writer keeps the checksum of what passes.
type summing struct {
	io.Writer
	sum uint32
}

func (s *summing) Write(b []byte) (int, error) {
	n, err := s.Writer.Write(b)
	s.sum = crc32.Update(s.sum, castagnoli, b[:n])
	return n, err
}

// Verify reads all files below a directory and returns what is damaged, in words: a head that cannot be read, a length
// that is not the one it says, a wrong checksum, a file in the wrong folder. It changes nothing.
func Verify(dir string) (problems []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing was uploaded, or its time has come
			return nil
		case err != nil:
			return err
		case d.IsDir() && path == filepath.Join(dir, "unfinished"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		in, ok := folder(d.Name())
		if !ok || filepath.Join(dir, in, d.Name()) != path {
			if strings.HasPrefix(d.Name(), ".") {
				return nil
			}
			problems = append(problems, path+" is none of the files that users have uploaded")
			return nil
		}
		if err := verifyFile(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v; remove it, or restore it from a backup", path, err))
		}
		return nil
	})
	return problems, err
}

func verifyFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	f := &stored{file: file}
	if err := f.readHead(); err != nil {
		return err
	}
	sum := &summing{Writer: io.Discard}
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, f.from+f.Size)); err != nil || !f.summed {
		return err
	}
	var b [sumBytes]byte
	if _, err := file.ReadAt(b[:], f.from+f.Size); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[:]) != sum.sum {
		return errDamaged
	}
	return nil
}
