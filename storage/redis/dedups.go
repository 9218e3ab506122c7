package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"jackdaw/storage"
)

// A dedupDay has the Dedup values of a day.
type dedupDay struct {
	ids map[string]uint64
	// many says that there are too many to be kept: Redis is asked for each.
	many  bool
	bytes int
}

// today is the day whose Dedup values are written now.
func (e *engine) today() int64 {
	return max(e.o.Now().UnixMicro(), 0) / storage.DedupWindow.Microseconds()
}

// days are those whose Dedup values count. The day after, too: another server's clock may have been ahead, or ours went
// back.
func days(today int64) [3]int64 { return [3]int64{today, today - 1, today + 1} }

// known finds the id of a Dedup value; 0 if it is new. The caller has the owner.
func (l *logSpace) known(ctx context.Context, st *logState, dedup string) (uint64, error) {
	count := days(l.today())
	for n := range st.days {
		if n < count[1] || n > count[2] {
			delete(st.days, n)
		}
	}
	for _, n := range count {
		day := st.days[n]
		if day == nil {
			var err error
			if day, err = l.day(ctx, st, n); err != nil {
				return 0, err
			}
			st.days[n] = day
		}
		if !day.many {
			if id := day.ids[dedup]; id != 0 {
				return id, nil
			}
			continue
		}
		if err := l.drain(ctx, st.keys.owner); err != nil {
			return 0, err
		}
		if id := st.keys.tail.knows(n, dedup); id != 0 {
			return id, nil
		}
		v, err := l.run(ctx, call{readScript, []string{st.keys.day(l.engine, n)}, []any{dedup}, false})
		if err != nil {
			return 0, err
		}
		if s, ok := v.(string); ok {
			return strconv.ParseUint(s, 10, 64)
		}
	}
	return 0, nil
}

// day reads the Dedup values of a day.
func (l *logSpace) day(ctx context.Context, st *logState, n int64) (*dedupDay, error) {
	if err := l.drain(ctx, st.keys.owner); err != nil {
		return nil, err
	}
	v, err := l.run(ctx, call{boundedScript, []string{st.keys.day(l.engine, n)}, []any{mostDedups}, false})
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return &dedupDay{many: true}, nil
	}
	day := &dedupDay{ids: make(map[string]uint64, len(list)/2)}
	for _, d := range st.keys.tail.dedups { // nothing is on its way
		if d.day == n {
			day.put(d.value, d.id)
		}
	}
	for i := 0; i+1 < len(list); i += 2 {
		value, _ := list[i].(string)
		s, _ := list[i+1].(string)
		id, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the dedup values of redis: %w", err)
		}
		day.put(value, id)
	}
	return day, nil
}

func (d *dedupDay) put(value string, id uint64) {
	if d.many {
		return
	}
	d.ids[value] = id
	if d.bytes += len(value) + 48; len(d.ids) > mostDedups {
		d.ids, d.many, d.bytes = nil, true, 0
	}
}

// fewPassing is how many values with a span an owner has before it is looked which of them are over.
const fewPassing = 64

// pass notes a value with a span, and drops those that are over, now and then.
func (st *logState) pass(d remembered) {
	if d.span.Asker == nil {
		return
	}
	if st.passing = append(st.passing, d); len(st.passing) < max(st.look, fewPassing) {
		return
	}
	left := slices.DeleteFunc(st.passing, func(d remembered) bool {
		if !d.span.Over() {
			return false
		}
		if day := st.days[d.day]; day != nil {
			day.drop(d.value)
		}
		return true
	})
	st.passing, st.look = left, 2*len(left)
}

func (d *dedupDay) drop(value string) {
	if _, ok := d.ids[value]; ok {
		delete(d.ids, value)
		d.bytes -= len(value) + 48
	}
}
