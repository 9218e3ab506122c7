package config

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Cluster makes this server one of several nodes that share what is in Redis (docs/cluster.md).
type Cluster struct {
	// Listen is where the other nodes reach this one, HOST:PORT each; without, this server is alone.
	Listen []string `yaml:"listen"`
	// Address is the HOST:PORT of Listen that the others are told; empty: the first of Listen, which names no wildcard
	// then.
	Address string `yaml:"address"`
	// Node is the name of this node, unlike that of all others; empty: that of the machine.
	Node string `yaml:"node"`
	// KeyFile holds the key of the cluster; empty: cluster.key in the data directory.
	KeyFile string `yaml:"key_file"`
	// Lease is how long what was at home on a node waits after the node has died.
	Lease time.Duration `yaml:"lease"`
	// Location is where clients reach this node alone, HOST:PORT: they are told, for the next time (XEP-0198 §3); empty:
	// they are not.
	Location string `yaml:"location"`
}

// DefaultLease is the usual lease.
const DefaultLease = 10 * time.Second

// On says whether there are other nodes.
func (c *Cluster) On() bool { return len(c.Listen) > 0 }

// NodeName is the name of this node.
func (c *Cluster) NodeName() string {
	if c.Node != "" {
		return c.Node
	}
	name, err := os.Hostname()
	if err != nil {
		return "node"
	}
	return strings.ToLower(name)
}

// Told is the address that the other nodes are told.
func (c *Cluster) Told() string {
	if c.Address != "" {
		return c.Address
	}
	return c.Listen[0]
}

// ClusterKey is the file with the key of the cluster.
func (c *Config) ClusterKey() string {
	if c.Cluster.KeyFile != "" {
		return c.Cluster.KeyFile
	}
	return filepath.Join(c.Data, "cluster.key")
}

func (c *Config) checkCluster(k *checker) {
	l := &c.Cluster
	if l.Lease < 3*time.Second || l.Lease > 5*time.Minute {
		k.add("cluster.lease", "expected 3s to 5m")
	}
	if !l.On() {
		return
	}
	if c.Storage.Engine != EngineRedis {
		k.add("cluster.listen", "expected storage.engine to be redis: what nodes share is there")
	}
	if u := &c.Modules.Upload; c.Modules.Enabled("upload") && !u.Shared && !u.S3.On() {
		k.add("modules.upload", "files would lie on the node that took them, where others do not find them; expected s3, or "+
			"shared: true if the folder upload of the data directory is the same on all nodes, or enabled: false")
	}
	for _, addr := range l.Listen {
		k.hostPort("cluster.listen", addr)
	}
	if l.Address != "" {
		k.hostPort("cluster.address", l.Address)
	} else if host, _, err := net.SplitHostPort(l.Listen[0]); err == nil && wildcard(host) {
		k.add("cluster.address", "expected HOST:PORT, since cluster.listen says not at which address others reach this node")
	}
	if l.Location != "" {
		k.hostPort("cluster.location", l.Location)
	}
	if strings.ContainsFunc(l.NodeName(), func(r rune) bool { return r <= ' ' || r > '~' }) || len(l.NodeName()) > 64 {
		k.add("cluster.node", "expected up to 64 visible ASCII characters without spaces")
	}
}

func wildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
