package httpmessage

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func described(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {}
