package embedded

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
)

// A journal is frames in a file: a group of writes each, written and made durable one after the other. Only the last
// frame of the last journal can be unfinished after a crash; all other journals end with a frame without ops.
//
//	magic (4) | length of ops (4) | number (8) | CRC-32C of all else (4) | ops
//
// The number of a frame is that of its journal, shifted, and its place there. For the file may be that of an earlier
// journal of this run: to write over it costs an fsync half the CPU, since the file system has no new blocks and no new
// length to make durable. What follows the frames is zeros or frames with the number of an earlier journal.
type journal struct {
	path     string
	number   uint64
	file     file
	size     int
	capacity int // the file has so many bytes
	ahead    int // by which capacity grows
	frames   uint64
	first    uint32 // the checksum of the first frame

	// Of one that was replayed:
	ended  bool
	mended []byte // the last frame, if it was put right
}

const (
	frameMagic  = "JDW2"
	frameHeader = 20
	filePrefix  = "journal-"
	// spareName is of the file that is written over. It never outlives a run, since numbers may start again with the
	// next.
	spareName = "spare"
)

// zeros is how much a file grows at once.
var zeros [256 << 10]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newJournal is a journal of about limit bytes in a reserve, which gets its name.
func newJournal(dir string, number uint64, limit int, r *reserve) *journal {
	path := filepath.Join(dir, fmt.Sprintf("%s%016x", filePrefix, number))
	return &journal{path: path, number: number, ahead: min(limit, len(zeros)), file: r.file, capacity: r.size}
}

// append makes a frame durable. frame begins with room for the header. After an error that is not in doubt the same
// frame must be the next: a part of it may be on the disk already.
func (j *journal) append(frame []byte) error {
	if uint64(len(frame)-frameHeader) > math.MaxUint32 {
		return fmt.Errorf("a group of %d bytes", len(frame))
	}
	copy(frame, frameMagic)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.BigEndian.PutUint64(frame[8:], frameNumber(j.number, j.frames+1))
	sum := frameSum(frame)
	binary.BigEndian.PutUint32(frame[16:], sum)
	size := j.size + len(frame)
	if size > j.capacity {
		// The length of the file and its blocks are made durable once for many frames.
		if _, err := j.file.WriteAt(zeros[:j.ahead], int64(size)); err != nil {
			return unlessFull(err)
		}
		j.capacity = size + j.ahead
	}
	if _, err := j.file.WriteAt(frame, int64(j.size)); err != nil {
		return unlessFull(err)
	}
	if err := j.file.Sync(); err != nil {
		return doubt{err}
	}
	j.frames++
	if j.size = size; j.frames == 1 {
		j.first = sum
	}
	return nil
}

// unlessFull puts an error in doubt unless there was no room.
func unlessFull(err error) error {
	if isFull(err) {
		return err
	}
	return doubt{err}
}

// end says that all frames of the journal are there: replay refuses a journal without it that others follow.
func (j *journal) end() error { return j.append(make([]byte, frameHeader)) }

func (j *journal) close() error { return j.file.Close() }

// frameNumber is the number in the header of a frame, the first of a journal being 1.
func frameNumber(journal, place uint64) uint64 { return journal<<32 | place }

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:16], castagnoli), castagnoli, frame[frameHeader:])
}
