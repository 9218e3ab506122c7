package stage

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RSS is how much memory a process has, in MiB (VmRSS of proc_pid_status(5)).
func RSS(pid int) (float64, error) { return status(pid, "VmRSS:") }

// Anonymous is how much of that is not a part of files (RssAnon): the embedded store maps its tree into memory, and the
// kernel lends it what is free.
func Anonymous(pid int) (float64, error) { return status(pid, "RssAnon:") }

// PeakRSS is the most that it has had (VmHWM).
func PeakRSS(pid int) (float64, error) { return status(pid, "VmHWM:") }

func status(pid int, field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "\n"+field)
	number := strings.Fields(after)
	if len(number) == 0 {
		return 0, fmt.Errorf("no %s of process %d", field, pid)
	}
	kib, err := strconv.ParseFloat(number[0], 64)
	return kib / 1024, err
}

// Descriptors is how many files and sockets a process has open.
func Descriptors(pid int) (int, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return len(names), err
}

// DiskUsage is what the files below a folder take of the disk, in MiB, without the folders for which except holds.
func DiskUsage(dir string, except func(name string) bool) (mib float64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && except != nil && except(d.Name()) {
			return filepath.SkipDir
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if os.IsNotExist(err) {
			return nil // it has gone meanwhile
		}
		if err == nil {
			mib += float64(info.Sys().(*syscall.Stat_t).Blocks) * 512 / (1 << 20)
		}
		return err
	})
	return mib, err
}

// Scrape reads the metrics of a server that have no labels.
func Scrape(addr string) (map[string]float64, error) {
	client := http.Client{Timeout: 30 * time.Second}
	resp, err := client.Get("http://" + addr + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return parseMetrics(resp.Body)
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	all := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "#") || strings.ContainsRune(name, '{') {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("read the metrics: %q", lines.Text())
		}
		all[name] = v
	}
	return all, lines.Err()
}
