package stage

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCPUTimeIsReadFromTheRightFields(t *testing.T) {
	stat := "4711 (a) name (b) S 42 1 1 0 -1 4194560 100 200 0 0 7 11 13 17 20 0 1 0 100 1000 10"
	parent, cpu, err := parseStat([]byte(stat))
	if err != nil || parent != 42 || cpu != 480*time.Millisecond {
		t.Errorf("parent %d, CPU %v, %v", parent, cpu, err)
	}
	if _, _, err := parseStat([]byte("1 (x) S 1")); err == nil {
		t.Error("a short line is taken")
	}
}

func TestFiguresAreReadable(t *testing.T) {
	for want, v := range map[string]float64{"0": 0.4, "999": 999, "1,000": 999.5, "1,234,567": 1234567} {
		if got := Thousands(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
	if odd, even := Median([]float64{9, 1, 4}), Median([]float64{4, 1, 9, 2}); odd != 4 || even != 3 {
		t.Errorf("medians %v and %v", odd, even)
	}
}

func TestAToolThatCannotGoOnCleansUp(t *testing.T) {
	var dir string
	var order []int
	status := Run("tool", func(s *Stage) int {
		dir = s.TempDir()
		s.Cleanup(func() { order = append(order, 1) })
		s.Cleanup(func() { order = append(order, 2) })
		s.Fatalf("%d of %d", 1, 2)
		return 0
	})
	if _, err := os.Stat(dir); status != 1 || !os.IsNotExist(err) || len(order) != 2 || order[0] != 2 {
		t.Errorf("status %d, %v, %v", status, err, order)
	}
	if filepath.Base(dir)[:5] != "tool-" {
		t.Errorf("its folder is %s", dir)
	}
}
