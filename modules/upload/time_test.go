package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jackdaw/modules/internal/moduletest"
	"jackdaw/storage"
	"jackdaw/xmpp"
)

// retry asks for a slot that is refused for now, and returns when it may be asked for again; zero if that is not said.
func (h *house) retry(c *moduletest.Client, attrs string) time.Time {
	h.t.Helper()
	e := c.Send(wish(attrs, ""))
	if e.Err == nil || e.Err.Condition != xmpp.CondResourceConstraint || e.Err.Type != xmpp.ErrorWait {
		h.t.Fatalf("%s: %v, %v", attrs, e.Outcome, e.Err)
	}
	if e.Err.App == nil || e.Err.App.Name != (xmpp.Name{Space: nsUpload, Local: "retry"}) {
		return time.Time{}
	}
	stamp, err := xmpp.ParseTime(e.Err.App.Attr("stamp"))
	if err != nil || !strings.HasSuffix(e.Err.App.Attr("stamp"), "Z") {
		h.t.Errorf("retry at %q: %v", e.Err.App.Attr("stamp"), err)
	}
	return stamp
}

func TestAnAccountHasAQuotaForADayAndIsToldWhenToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		start := time.Now()
		for range 4 {
			h.upload(h.romeo, "filename='a' size='1000'", strings.Repeat("x", 1000))
			time.Sleep(time.Hour)
		}
		pending := h.slot(h.romeo, "filename='a' size='999'", "") // counts, too
		if got := h.retry(h.romeo, "filename='a' size='2'"); !got.Equal(start.Add(day)) {
			t.Errorf("two bytes: try again in %s", got.Sub(start))
		}
		if got := h.retry(h.romeo, "filename='a' size='1000'"); !got.Equal(start.Add(day)) {
			t.Errorf("a kilobyte: try again in %s", got.Sub(start))
		}
		h.slot(h.romeo, "filename='a' size='1'", "")
		h.slot(h.juliet, "filename='a' size='1000'", "") // others have their own
		time.Sleep(slotTime)
		if code := h.put(pending, strings.Repeat("x", 999)); code != http.StatusNotFound {
			t.Errorf("a slot that has expired: %d", code)
		}
		h.upload(h.romeo, "filename='a' size='1000'", strings.Repeat("x", 1000))
		if got := h.retry(h.romeo, "filename='a' size='1'"); !got.Equal(start.Add(day)) {
			t.Errorf("one byte: try again in %s", got.Sub(start))
		}
		time.Sleep(time.Until(start.Add(day)) - time.Second)
		h.retry(h.romeo, "filename='a' size='1000'")
		time.Sleep(time.Second + time.Microsecond)
		h.upload(h.romeo, "filename='a' size='1000'", strings.Repeat("x", 1000))
		h.Close()
	})
}

func TestSlotsAndSmallFilesAreCountedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		start := time.Now()
		for range openSlots {
			h.slot(h.romeo, "filename='a' size='1'", "")
		}
		if got := h.retry(h.romeo, "filename='a' size='1'"); !got.Equal(start.Add(slotTime)) {
			t.Errorf("one slot too many: try again in %s", got.Sub(start))
		}
		time.Sleep(slotTime)
		for range filesADay - 1 { // as if they had been uploaded
			if _, _, _, err := h.o.Records.Append(t.Context(), "romeo@example.org", storage.Record{Data: recordOf(&slot{size: 1})},
				storage.AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		h.upload(h.romeo, "filename='a' size='1'", "x")
		if got := h.retry(h.romeo, "filename='a' size='1'"); !got.Equal(start.Add(slotTime + day)) {
			t.Errorf("one file too many: try again in %s", got.Sub(start))
		}
		time.Sleep(slotTime)
		h.sweep(time.Now())
		if len(h.slots) != 0 || len(h.users) != 0 {
			t.Errorf("%d slots and %d users are remembered", len(h.slots), len(h.users))
		}
		// Beyond the quota by slots alone.
		for range 5 {
			h.slot(h.juliet, "filename='a' size='1000'", "")
		}
		if got := h.retry(h.juliet, "filename='a' size='1'"); got.Before(time.Now()) || got.After(time.Now().Add(slotTime)) {
			t.Errorf("try again in %s", time.Until(got))
		}
		h.Close()
	})
}

func TestFilesGoWhenTheirTimeHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { h.Run(ctx); close(ran) }()
		early := h.upload(h.romeo, "filename='a' size='5'", "12345")
		time.Sleep(day)
		story := h.slot(h.romeo, "filename='a' size='5'", fmt.Sprintf("<ephemeral xmlns='%s' expire-before='%s'/>", nsPurpose, xmpp.FormatTime(time.Now().Add(36*time.Hour))))
		if code := h.put(story, "story"); code != 201 {
			t.Fatalf("put: %d", code)
		}
		// The service keeps nothing for longer than it keeps all.
		long := h.slot(h.romeo, "filename='a' size='5'", fmt.Sprintf("<ephemeral xmlns='%s' expire-before='%s'/>", nsPurpose, xmpp.FormatTime(time.Now().Add(365*day))))
		if code := h.put(long, "novel"); code != 201 {
			t.Fatalf("put: %d", code)
		}
		if list, err := os.ReadDir(h.o.Dir); err != nil || len(list) != 4 {
			t.Errorf("folders: %v, %v", list, err)
		}
		time.Sleep(36*time.Hour - time.Second)
		h.wants(story, 200, "story")
		time.Sleep(time.Second)
		h.wants(story, 404, "")
		time.Sleep(2*time.Hour + time.Minute)
		if all := h.files(); len(all) != 2 {
			t.Errorf("after the story: %q", all)
		}
		time.Sleep(30*day - 63*time.Hour)
		h.wants(early, 200, "12345")
		time.Sleep(time.Hour)
		h.wants(early, 404, "")
		h.wants(long, 200, "novel")
		time.Sleep(day + 3*time.Hour)
		h.wants(long, 404, "")
		if all := h.files(); len(all) != 0 || h.Stats.Purged.Load() != 3 {
			t.Errorf("after all: %q, %d folders purged", all, h.Stats.Purged.Load())
		}
		time.Sleep(day)
		if n, _, err := h.o.Records.Size(ctx, "romeo@example.org"); n != 0 || err != nil {
			t.Errorf("%d records are left, %v", n, err)
		}
		stop()
		<-ran

		h.set.Keep = 0 // for ever
		kept := h.upload(h.romeo, "filename='a' size='5'", "12345")
		time.Sleep(3650 * day)
		h.purge(t.Context(), time.Now())
		h.wants(kept, 200, "12345")
		h.set.Keep = 30 * day
		h.wants(kept, 404, "")
		h.Close()
	})
}

func TestARemovedAccountLeavesNoFile(t *testing.T) {
	h := newHouse(t)
	h.set.Quota = 1 << 20
	var first given
	for range 150 { // more than a page of records
		first = h.upload(h.romeo, "filename='a' size='5'", "12345")
	}
	open := h.slot(h.romeo, "filename='a' size='5'", "")
	if err := os.Remove(h.files()[3]); err != nil { // such as a crash leaves
		t.Fatal(err)
	}
	disk := h.Service.store.(*directory)
	removed, in := h.Module().Removed, filepath.Dir(h.files()[0])
	other := h.upload(h.juliet, "filename='a' size='5'", "54321") // whose file is none of those above
	h.store.Fail(errors.New("away"))
	if err := removed(h.romeo.Bare()); err == nil {
		t.Error("removed without storage")
	}
	h.store.Fail(nil)
	// As long as a power cut may bring a file back, the account's records name it.
	disk.syncDir = func(string) error { return errors.New("the disk fails") }
	if err := removed(h.romeo.Bare()); err == nil {
		t.Error("removed without the disk")
	}
	if n, _, err := h.o.Records.Size(t.Context(), "romeo@example.org"); n == 0 || err != nil {
		t.Errorf("%d records of files that may come back, %v", n, err)
	}
	var synced []string
	disk.syncDir = func(dir string) error { synced = append(synced, dir); return nil }
	if err := removed(h.romeo.Bare()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(synced, in) {
		t.Errorf("synced %q instead of %s", synced, in)
	}
	h.wants(first, 404, "")
	h.wants(other, 200, "54321")
	if code := h.put(open, "12345"); code != 404 {
		t.Errorf("a slot of nobody: %d", code)
	}
	if all := h.files(); len(all) != 1 {
		t.Errorf("files: %q", all)
	}
}
