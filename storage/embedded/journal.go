package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A journal is frames in a file: a group of writes each, written and made
// durable one after the other. Only the last frame of the last journal can be
// unfinished after a crash; all other journals end with a frame without ops.
//
//	magic (4) | length of ops (4) | number (8) | CRC-32C of all else (4) | ops
//
// The number of a frame is that of its journal, shifted, and its place there. For the file may be that
// of an earlier journal of this run: to write over it costs an fsync half the CPU,
// since the file system has no new blocks and no new length to make durable. What follows the frames is
// zeros or frames with the number of an earlier journal.
type journal struct {
	path   string
	number uint64
	file   file
	size   int
	room   int // the file has so many bytes
	ahead  int // by which room grows
	frames uint64
}

const (
	frameMagic  = "JDW2"
	frameHeader = 20
	filePrefix  = "journal-"
	// spareName is of the file that is written over. It never outlives a run, since
	// numbers may start again with the next.
	spareName = "spare"
)

// zeros is how much a file grows at once.
var zeros [256 << 10]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newJournal begins a journal of about limit bytes in the spare file if there is one.
func newJournal(files fileSystem, dir string, number uint64, limit int) (*journal, error) {
	j := &journal{path: filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number)), number: number, ahead: min(limit, len(zeros))}
	err := files.rename(filepath.Join(dir, spareName), j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if j.file, err = files.create(j.path); err != nil {
		return nil, err
	}
	size, err := j.file.Size()
	if err == nil {
		err = files.syncDir(dir)
	}
	if err != nil {
		j.file.Close() // the first error is the one to tell
		return nil, err
	}
	j.room = int(size)
	return j, nil
}

// setAside makes a journal the spare file, for good: if it came back after a power cut without those that
// followed it, replaying it would undo what they did. One that grew far beyond the limit is removed.
func setAside(files fileSystem, path string, limit int) error {
	f, err := files.open(path)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if size > 2*int64(max(limit, len(zeros))) {
		return removeDurably(files, path)
	}
	dir := filepath.Dir(path)
	if err := files.rename(path, filepath.Join(dir, spareName)); err != nil {
		return err
	}
	return files.syncDir(dir)
}

// append makes a frame durable. frame begins with room for the header.
func (j *journal) append(frame []byte) error {
	if uint64(len(frame)-frameHeader) > math.MaxUint32 {
		return fmt.Errorf("a group of %d bytes", len(frame))
	}
	j.frames++
	copy(frame, frameMagic)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.BigEndian.PutUint64(frame[8:], frameNumber(j.number, j.frames))
	binary.BigEndian.PutUint32(frame[16:], frameSum(frame))
	at := j.size
	if j.size += len(frame); j.size > j.room {
		// The length of the file and its blocks are made durable once for many frames.
		if _, err := j.file.WriteAt(zeros[:j.ahead], int64(j.size)); err != nil {
			return err
		}
		j.room = j.size + j.ahead
	}
	if _, err := j.file.WriteAt(frame, int64(at)); err != nil {
		return err
	}
	return j.file.Sync()
}

// end says that all frames of the journal are there: replay refuses a journal without it
// that others follow.
func (j *journal) end() error {
	err := j.append(make([]byte, frameHeader))
	if err2 := j.close(); err == nil {
		err = err2
	}
	return err
}

func (j *journal) close() error { return j.file.Close() }

// frameNumber is the number in the header of a frame, the first of a journal being 1.
func frameNumber(journal, place uint64) uint64 { return journal<<32 | place }

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:16], castagnoli), castagnoli, frame[frameHeader:])
}

// replay calls f with the ops of each whole frame in the order they were written, and
// returns the journals found and the number of the last one.
func replay(files fileSystem, dir string, f func(ops []byte) error) (paths []string, number uint64, err error) {
	entries, err := files.readDir(dir) // sorted by name, and so by number
	if err != nil {
		return nil, 0, err
	}
	var numbers []uint64
	for _, entry := range entries {
		if digits, ok := strings.CutPrefix(entry.Name(), filePrefix); ok {
			if number, err = strconv.ParseUint(digits, 16, 32); err != nil {
				return nil, 0, fmt.Errorf("read the name of journal %s: %w", entry.Name(), err)
			}
			numbers, paths = append(numbers, number), append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	if err := missing(numbers); err != nil {
		return nil, 0, err
	}
	for i, path := range paths {
		data, err := readWhole(files, path)
		if err != nil {
			return nil, 0, err
		}
		rest, next, ended, err := eachFrame(data, frameNumber(numbers[i], 1), f)
		if err != nil {
			return nil, 0, fmt.Errorf("replay %s: %w", path, err)
		}
		// A crash leaves at most one frame unfinished, the last of all. Anything else is
		// damage, and going on would lose what was acknowledged.
		if !ended && i < len(paths)-1 || laterFrame(rest, next) {
			return nil, 0, fmt.Errorf("%s is damaged at byte %d; restore the directory from a backup", path, len(data)-len(rest))
		}
	}
	return paths, number, nil
}

// missing returns an error if one of the journals is. They are given up from the lowest number on, so those that a crash leaves
// follow each other. Without what lies between, the later ones would be taken for what they are not: removals of what
// was never there, sizes that count what is lost.
func missing(numbers []uint64) error {
	for i, n := range numbers {
		if i > 0 && n != numbers[i-1]+1 {
			name := func(n uint64) string { return fmt.Sprintf("%s%016x", filePrefix, n) }
			return fmt.Errorf("%s is missing, which lies between %s and %s; put it back, or restore the directory from a backup. "+
				"To lose what was written from then on, move %s and all later ones away",
				name(numbers[i-1]+1), name(numbers[i-1]), name(n), name(n))
		}
	}
	return nil
}

// eachFrame calls f with the frames at the start of data, whose numbers begin with next, and returns what
// follows them, the number that was expected there, and whether the last frame was that of end.
func eachFrame(data []byte, next uint64, f func(ops []byte) error) ([]byte, uint64, bool, error) {
	for {
		frame := wholeFrame(data)
		if frame == nil || binary.BigEndian.Uint64(frame[8:]) != next {
			return data, next, false, nil
		}
		next++
		data = data[len(frame):]
		if len(frame) == frameHeader {
			return data, next, true, nil
		}
		// The memory table keeps slices of what f gets.
		if err := f(slices.Clone(frame[frameHeader:])); err != nil {
			return data, next, false, err
		}
	}
}

// wholeFrame is the frame at the start of data, or nil if there is none or its checksum is wrong.
func wholeFrame(data []byte) []byte {
	if len(data) < frameHeader || string(data[:4]) != frameMagic {
		return nil
	}
	n := int(binary.BigEndian.Uint32(data[4:]))
	if n > len(data)-frameHeader {
		return nil
	}
	frame := data[:frameHeader+n]
	if binary.BigEndian.Uint32(frame[16:]) != frameSum(frame) {
		return nil
	}
	return frame
}

// laterFrame says whether a whole frame of the same journal, with a number above bad, lies anywhere in data.
func laterFrame(data []byte, bad uint64) bool {
	for i := 1; i < len(data); i++ {
		next := bytes.Index(data[i:], []byte(frameMagic))
		if next < 0 {
			return false
		}
		i += next
		// Most are of earlier journals: no need for their checksums.
		if len(data)-i < frameHeader {
			return false
		}
		if n := binary.BigEndian.Uint64(data[i+8:]); n>>32 == bad>>32 && n > bad && wholeFrame(data[i:]) != nil {
			return true
		}
	}
	return false
}
