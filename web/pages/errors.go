package pages

import (
	"net/http"
	"strconv"
)

// statuses are those that have words of their own.
var statuses = []int{400, 403, 404, 405, 408, 410, 413, 429, 500, 503}

// Error answers with a page that says what is wrong, or with a line of text where the client shows no pages.
func (s *Site) Error(w http.ResponseWriter, r *http.Request, status int) {
	if !Wanted(r) {
		SetHeaders(w.Header())
		http.Error(w, http.StatusText(status)+".", status)
		return
	}
	key := "error.other"
	for _, known := range statuses {
		if known == status {
			key = "error." + strconv.Itoa(status)
		}
	}
	s.errors.Write(w, r, View{Name: "error", Status: status, Data: key})
}
