package embedded

import (
	"testing"
	"time"

	"jackdaw/storage"
	"jackdaw/storage/storetest"
)

func suite(t *testing.T, o Options) {
	storetest.Run(t, func(t *testing.T) storetest.Open {
		dir := t.TempDir()
		return func(now func() time.Time) storage.Engine {
			o.Now = now
			e, err := OpenWith(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	})
}

func TestEnginePassesTheSuite(t *testing.T) { suite(t, Options{}) }

// With journals this small nearly every group ends in a checkpoint.
func TestEnginePassesTheSuiteWithTinyJournals(t *testing.T) { suite(t, Options{JournalBytes: 500}) }
