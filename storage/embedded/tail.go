package embedded

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"
)

// The last frame of the last journal may not be whole for two reasons. A crash came while it was written: then it was
// never acknowledged, and some sector of it was never written and holds what it held before, which is zeros or what an
// earlier journal has left. Or the disk has changed it: then it was acknowledged.

const (
	// sector is what a disk writes whole or not at all.
	sector = 512
	// fewZeros may stand at the end of a frame that was written, such as a size that has become 0.
	fewZeros = 64
)

// mended returns the frame at the start of data as it was before the disk changed its header, or nil. The magic and the
// number are known, so whatever became of them is put right; of the length or the checksum one bit may be wrong. The
// checksum tells whether the result is right: what was never whole passes once in 60 million times.
func mended(data []byte, next uint64) []byte {
	if len(data) < frameHeader {
		return nil
	}
	header := slices.Clone(data[:frameHeader])
	copy(header, frameMagic)
	binary.BigEndian.PutUint64(header[8:], next)
	length, sum := binary.BigEndian.Uint32(header[4:]), binary.BigEndian.Uint32(header[16:])
	frame := func(length uint32, wrong int) []byte { // wrong: bits of the checksum
		if uint64(length) > uint64(len(data)-frameHeader) {
			return nil
		}
		ops := data[frameHeader:][:length]
		binary.BigEndian.PutUint32(header[4:], length)
		right := crc32.Update(crc32.Checksum(header[:16], castagnoli), castagnoli, ops)
		if bits.OnesCount32(sum^right) > wrong {
			return nil
		}
		binary.BigEndian.PutUint32(header[16:], right)
		return append(header, ops...)
	}
	if !bytes.Equal(header, data[:frameHeader]) {
		return frame(length, 0)
	}
	whole := frame(length, 1)
	for bit := 0; bit < 32 && whole == nil; bit++ {
		whole = frame(length^1<<bit, 0)
	}
	return whole
}

// A loss is what was dropped at the end of a journal.
type loss int

const (
	lossNone    loss = iota // as far as can be told
	lossCut                 // a frame that a crash has cut off: it was never acknowledged
	lossUnclear             // a frame that the disk may have changed: then it was acknowledged
)

// lossAt tells what was dropped where a frame of this number was expected, at a byte of the file, and how long it was.
func lossAt(at int, rest []byte, next uint64) (loss, int) {
	if len(rest) < frameHeader {
		if allZero(rest) {
			return lossNone, 0
		}
		return lossCut, len(rest)
	}
	magic, found := string(rest[:4]) == frameMagic, binary.BigEndian.Uint64(rest[8:])
	switch {
	case magic && found == next:
		size := frameHeader + int(binary.BigEndian.Uint32(rest[4:]))
		if size > len(rest) {
			return lossCut, len(rest)
		}
		if neverWritten(at, rest[:size], next) {
			return lossCut, size
		}
		return lossUnclear, size
	case magic && earlier(found, next):
		return lossNone, 0
	case !magic && found != next && (allZero(rest[frameHeader-1:]) || earlierFrame(rest, next)):
		// There is nothing, or what an earlier journal has left, if only a part of its last frame.
		return lossNone, 0
	case at&(sector-1) > sector-frameHeader || allZero(rest[:frameHeader]):
		return lossCut, len(rest) // one sector of the header was written, or none
	}
	return lossUnclear, len(rest)
}

// neverWritten says whether a sector of a frame, whose header is whole, holds what was there before.
func neverWritten(at int, frame []byte, next uint64) bool {
	for from := -at & (sector - 1); from < len(frame); from += sector {
		if part := frame[from:min(from+sector, len(frame))]; len(part) >= fewZeros && allZero(part) {
			return true
		}
	}
	return earlierFrame(frame[frameHeader:], next)
}

// earlier says whether the number of a frame is that of an earlier journal.
func earlier(number, next uint64) bool { return number>>32 > 0 && number>>32 < next>>32 }

// earlierFrame says whether the header of a frame of an earlier journal lies anywhere in data.
func earlierFrame(data []byte, next uint64) bool {
	for {
		i := bytes.Index(data, []byte(frameMagic))
		if i < 0 || len(data)-i < frameHeader {
			return false
		}
		if earlier(binary.BigEndian.Uint64(data[i+8:]), next) {
			return true
		}
		data = data[i+1:]
	}
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// halfWritten says whether a crash may have left a frame as data has it: of its header, which lies in two sectors, one
// was not written. What a disk changes is a bit or two.
func halfWritten(at int, data, frame []byte) bool {
	first, wrong := sector-at&(sector-1), 0
	for i := range frameHeader {
		wrong += bits.OnesCount8(data[i] ^ frame[i])
	}
	return wrong > 2 && first < frameHeader && (bytes.Equal(data[:first], frame[:first]) ||
		bytes.Equal(data[first:frameHeader], frame[first:frameHeader]))
}

// tellMended tells of a frame that could be put right, which the disk has as data.
func (r replayer) tellMended(path string, at int, data, frame []byte) {
	if halfWritten(at, data, frame) {
		r.log.Warn("the last group of the journal was cut off in its header, and could be put right",
			"file", path, "byte", at)
		return
	}
	if r.suspect != nil {
		r.suspect(fmt.Errorf("%s is damaged at byte %d, in the header of its last group; the next start puts it right, "+
			"and nothing is lost; see to the disk", path, at))
		return
	}
	r.log.Error("the disk has changed the header of the last group of the journal; it could be put right, "+
		"and nothing is lost: see to the disk", "file", path, "byte", at)
}

// tellDropped tells what is dropped at the end of the last journal.
func (r replayer) tellDropped(path string, at int, rest []byte, next uint64) {
	switch what, size := lossAt(at, rest, next); {
	case what == lossCut:
		r.log.Warn("the last group of the journal was cut off before it was acknowledged; it is dropped",
			"file", path, "byte", at, "bytes", size)
	case what == lossUnclear && r.suspect != nil:
		r.suspect(fmt.Errorf("%s may be damaged at byte %d, in its last group: unless a crash has cut that off, "+
			"what was acknowledged last is lost; the next start drops it", path, at))
	case what == lossUnclear:
		r.log.Error("the last group of the journal cannot be read and is dropped: if it was not cut off but damaged, "+
			"what was acknowledged last is lost; see to the disk", "file", path, "byte", at, "bytes", size)
	}
}
