package packages

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jackdaw/testsuite/harness"
)

// podman is buildah with storage of the machine's own, in the place of whatever runs containers.
const podman = "export BUILDAH_ISOLATION=chroot; buildah --root /var/tmp/images --runroot /run/images --storage-driver vfs "

// An image as it says how it is to be run.
type image struct {
	OCIv1 struct {
		Config struct {
			User, WorkingDir, StopSignal string
			Entrypoint, Cmd              []string
			ExposedPorts, Volumes        map[string]any
		}
	}
}

func (m *Machine) unpack(file, name string) (i image) {
	m.t.Helper()
	m.Run(podman + "from --quiet --name " + name + " oci-archive:/mnt/" + filepath.Base(file))
	defer m.Run(podman + "config --volume /data- " + name) // which buildah would make itself, in the place of ours
	if err := json.Unmarshal([]byte(m.Run(podman+"inspect "+name)), &i); err != nil {
		m.t.Fatal(err)
	}
	return i
}

func TestTheImageIsRunAndReplaced(t *testing.T) {
	m := NewMachine(t)
	i := m.unpack(makeTarget(t, m.Mnt, "image", "v0.1.0"), "old")
	c := i.OCIv1.Config
	if c.User != "65532:65532" || c.WorkingDir != "/data" || !slices.Equal(c.Entrypoint, []string{"/jackdaw"}) ||
		!slices.Equal(c.Cmd, []string{"serve"}) || c.Volumes["/data"] == nil || c.ExposedPorts["5222/tcp"] == nil ||
		c.ExposedPorts["443/tcp"] == nil {
		t.Errorf("the image says %+v", c)
	}
	// It has the binary and what that needs, and nobody can write but to the data.
	m.says("cd $("+podman+"mount old); find . -type f | sort", "./etc/group\n./etc/passwd\n./etc/ssl/certs/ca-certificates.crt\n./jackdaw")
	m.says("cd $("+podman+"mount old); find . -perm /022 ! -name tmp; stat -c %u:%a jackdaw data .", "0:755\n65532:700\n0:555")
	if out := m.Run("ldd $(" + podman + "mount old)/jackdaw 2>&1 || true"); !strings.Contains(out, "not a dynamic executable") {
		t.Errorf("the binary needs libraries:\n%s", out)
	}

	// A volume begins with what the image has at its place.
	m.Run("cp -a $(" + podman + "mount old)/data /srv/volume")
	run := podman + "run -v /srv/volume:/data "
	m.Run("(" + run + "old -- /jackdaw setup example.org --admin alice --https 5284 --password-stdin --address 192.0.2.7) <<'E'\ncorrect-horse\nE\n")
	serve := func(container string) (stop func()) {
		t.Helper()
		log := &harness.Output{}
		cmd := m.Command(run + container + " -- " + strings.Join(append(slices.Clone(c.Entrypoint), c.Cmd...), " "))
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		if err := log.Await("jackdaw: ready", 0, harness.Timeout, ended); err != nil {
			t.Fatalf("%s: %v\n%s", container, err, log)
		}
		return func() {
			t.Helper()
			m.Run("kill -TERM $(pidof jackdaw)")
			<-ended
			if code := cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("%s ends with %d\n%s", container, code, log)
			}
		}
	}
	post := `curl -sS http://127.0.0.1:5280/message -u alice@example.org:correct-horse ` +
		`--data-binary '<message to="alice@example.org"><body>yo</body></message>'`
	stop := serve("old")
	m.says("stat -c %u /proc/$(pidof jackdaw)", "65532")
	m.says(post, "OK")
	stop()

	// Another image goes on with the volume.
	m.unpack(makeTarget(t, m.Mnt, "image", "v0.2.0"), "new")
	m.Run(podman + "rm old")
	stop = serve("new")
	// buildah loses output now and then, so the binary of the image is asked without it.
	m.Run("cd /srv/volume; jackdaw=$(" + podman + "mount new)/jackdaw; $jackdaw version | grep -q v0.2.0; " +
		"[ \"$($jackdaw --data data user list | cut -f1)\" = alice@example.org ]")
	m.says(post, "OK")
	stop()
	m.Run(podman + "rm new; [ -e /srv/volume/jackdaw.yaml ]; [ -e /srv/volume/data/store/store.db ]")
}
