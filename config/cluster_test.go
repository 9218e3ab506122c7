package config

import (
	"strings"
	"testing"
)

func TestANodeIsToldWhatItLacks(t *testing.T) {
	const redis = "storage: {engine: redis}\nmodules: {upload: {shared: true}}\n"
	for text, want := range map[string]string{
		redis + "cluster: {listen: ['10.0.0.1:5270']}":                                                  "",
		redis + "cluster: {listen: [':5270'], address: 'im1.example.org:5270'}":                         "",
		redis + "cluster: {listen: [':5270']}":                                                          "cluster.address",
		redis + "cluster: {listen: ['10.0.0.1']}":                                                       "cluster.listen",
		redis + "cluster: {listen: ['10.0.0.1:5270'], lease: 1s}":                                       "cluster.lease",
		redis + "cluster: {listen: ['10.0.0.1:5270'], node: 'a b'}":                                     "cluster.node",
		redis + "cluster: {listen: ['10.0.0.1:5270'], location: im1}":                                   "cluster.location",
		"modules: {upload: {enabled: false}}\ncluster: {listen: ['10.0.0.1:5270']}":                     "storage.engine",
		"storage: {engine: redis}\ncluster: {listen: ['10.0.0.1:5270']}":                                "modules.upload",
		"storage: {engine: redis}\nmodules: {upload: {enabled: false}}\ncluster: {listen: ['[::1]:1']}": "",
	} {
		_, err := Parse("jackdaw.yaml", []byte(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want an error about %s", text, err, want)
		}
	}
}
