package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A mark is how the tree knows the last journal that was merged into it: the number alone would not do, since an
// earlier version begins again with 1.
type mark struct {
	number uint64
	first  uint32
}

func (j *journal) mark() mark { return mark{j.number, j.first} }

// A replayer reads the journals that the last run has left.
type replayer struct {
	files  fileSystem
	dir    string
	merged mark
	log    *slog.Logger
	// suspect gets what the disk has or may have changed in the last frame; nil: it is logged.
	suspect func(error)
}

// replay calls f with the ops of each whole frame in the order they were written, and returns the journals that were in
// the tree already and those that it has called f for.
func (r replayer) replay(f func(ops []byte) error) (done, found []*journal, err error) {
	entries, err := r.files.readDir(r.dir) // sorted by name, and so by number
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		if digits, ok := strings.CutPrefix(entry.Name(), filePrefix); ok {
			number, err := strconv.ParseUint(digits, 16, 32)
			if err != nil {
				return nil, nil, fmt.Errorf("read the name of journal %s: %w", entry.Name(), err)
			}
			found = append(found, &journal{path: filepath.Join(r.dir, entry.Name()), number: number})
		}
	}
	if err := missing(found); err != nil {
		return nil, nil, err
	}
	if i := slices.IndexFunc(found, func(j *journal) bool { return j.number == r.merged.number }); i >= 0 {
		data, err := readWhole(r.files, found[i].path)
		if err != nil {
			return nil, nil, err
		}
		if frame := wholeFrame(data); frame != nil && binary.BigEndian.Uint32(frame[16:]) == r.merged.first {
			done, found = found[:i+1], found[i+1:]
		}
	}
	for i, j := range found {
		data, err := readWhole(r.files, j.path)
		if err != nil {
			return nil, nil, err
		}
		if frame := wholeFrame(data); frame != nil {
			j.first = binary.BigEndian.Uint32(frame[16:])
		}
		rest, next, ended, err := eachFrame(data, frameNumber(j.number, 1), f)
		at := len(data) - len(rest)
		later := err == nil && laterFrame(rest, next)
		if err == nil && !ended && !later {
			if frame := mended(rest, next); frame != nil {
				r.tellMended(j.path, at, rest, frame)
				if ended = len(frame) == frameHeader; !ended {
					err = f(frame[frameHeader:])
				}
				j.mended = frame
				rest, next = rest[len(frame):], next+1
				at += len(frame)
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("replay %s: %w", j.path, err)
		}
		j.size, j.capacity, j.frames, j.ended = at, len(data), next-frameNumber(j.number, 1), ended
		// A crash leaves at most one frame unfinished, the last of all. Anything else is damage, and going on would
		// lose what was acknowledged.
		if later || !ended && i < len(found)-1 {
			return nil, nil, fmt.Errorf("%s is damaged at byte %d; restore the directory from a backup", j.path, at)
		}
		if !ended {
			r.tellDropped(j.path, at, rest, next)
		}
	}
	return done, found, nil
}

// endLate ends the last journal of an earlier run, which other journals are going to follow: it could not be merged.
func (e *engine) endLate(j *journal) (err error) {
	if j.ended {
		return nil
	}
	if j.file, err = e.files.open(j.path); err != nil {
		return err
	}
	if n := len(j.mended); n > 0 {
		_, err = j.file.WriteAt(j.mended, int64(j.size-n))
	}
	if err == nil {
		err = j.end()
	}
	err = errors.Join(err, j.close())
	j.file = nil // as that of the others
	return err
}

// missing returns an error if one of the journals is. They are given up from the lowest number on, so those that a
// crash leaves follow each other. Without what lies between, the later ones would be taken for what they are not:
// removals of what was never there, sizes that count what is lost.
func missing(found []*journal) error {
	for i, j := range found {
		if i > 0 && j.number != found[i-1].number+1 {
			name := func(n uint64) string { return fmt.Sprintf("%s%016x", filePrefix, n) }
			return fmt.Errorf("%s is missing, which lies between %s and %s; put it back, "+
				"or restore the directory from a backup. To lose what was written from then on, move %s and all later ones away",
				name(found[i-1].number+1), name(found[i-1].number), name(j.number), name(j.number))
		}
	}
	return nil
}

// eachFrame calls f with the frames at the start of data, whose numbers begin with next, and returns what follows them,
// the number that was expected there, and whether the last frame was that of end.
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
