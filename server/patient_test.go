package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"jackdaw/config"
	"jackdaw/server/doctor"
)

func TestADoctorAsksWhoKnowsThePasswords(t *testing.T) {
	status, body := 0, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	for _, row := range []struct {
		backend, body string
		status        int
		level         doctor.Level
		what          string
	}{
		{config.BackendHTTP, `{"users":[]}`, 200, doctor.Good, "answers after"},
		{config.BackendHTTP, `{"users":["` + nobodyKnown + `@example.org"]}`, 200, doctor.Wrong, "lets in anybody"},
		{config.BackendHTTP, `{}`, 404, doctor.Wrong, "its status is 404"},
		{config.BackendOAuth, `{"active":false}`, 200, doctor.Good, "answers after"},
		{config.BackendOAuth, `{"active":true,"username":"romeo"}`, 200, doctor.Wrong, "lets in anybody"},
		{config.BackendOAuth, ``, 401, doctor.Wrong, "client_id"},
		{config.BackendLDAP, ``, 200, doctor.Wrong, "the directory at ldap://127.0.0.1:1"},
	} {
		cfg := config.Default()
		cfg.Hosts = []config.Host{{Domain: "example.org"}}
		cfg.Accounts.Backend = row.backend
		cfg.Accounts.HTTP.URL, cfg.Accounts.OAuth.URL = s.URL, s.URL
		cfg.Accounts.LDAP.URLs, cfg.Accounts.LDAP.Base = []string{"ldap://127.0.0.1:1"}, "dc=example"
		status, body = row.status, row.body
		got := accountFindings(t.Context(), cfg, "example.org")
		if len(got) != 1 || got[0].Level != row.level || !strings.Contains(got[0].What, row.what) ||
			row.level == doctor.Wrong && !strings.Contains(got[0].Do, "accounts."+row.backend) {
			t.Errorf("%s %d %s: %+v", row.backend, row.status, row.body, got)
		}
	}
	cfg := config.Default()
	if got := Patient(cfg, "localhost", 0); got.Machine.Accounts != nil {
		t.Error("passwords that are here are asked for elsewhere")
	}
}
