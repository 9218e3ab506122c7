package upload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
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
	return VerifyStore(context.Background(), Directory(dir), func(name string) string {
		return filepath.Join(dir, filepath.FromSlash(name))
	})
}

// VerifyStore is Verify for the files of any Store, which are called as called says.
func VerifyStore(ctx context.Context, store Store, called func(name string) string) (problems []string, err error) {
	err = store.Walk(ctx, func(name string) error {
		if _, ok := idIn(name); !ok {
			problems = append(problems, called(name)+" is none of the files that users have uploaded")
			return nil
		}
		switch err := verifyFile(ctx, store, name); {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, ErrAway), ctx.Err() != nil:
			return err
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v; remove it, or restore it from a backup", called(name), err))
		}
		return nil
	})
	return problems, err
}

func verifyFile(ctx context.Context, store Store, name string) error {
	file, err := store.Open(ctx, name)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read
	f := &stored{file: file}
	if err := f.readHead(); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := &summing{Writer: io.Discard}
	if _, err := io.CopyN(sum, file, f.from+f.Size); err != nil || !f.summed {
		return err
	}
	var b [sumBytes]byte
	if _, err := io.ReadFull(file, b[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[:]) != sum.sum {
		return errDamaged
	}
	return nil
}
