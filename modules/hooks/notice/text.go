package notice

import "net/http"

// text takes the body as it is: what curl and scripts send.
var text = Face{
	Name: "text",
	Read: readText,
	Claims: func(r *Request, _ Object) bool {
		return r.Media == "text/plain" || r.Media == "" && len(r.Body) > 0
	},
}

func readText(r *Request) (Reading, error) {
	n := Notice{Text: string(r.Body)}
	if n.Empty() {
		return Reading{}, &Mistake{Status: http.StatusBadRequest, Text: "there is no text in the body"}
	}
	return Reading{Notices: []Notice{n}}, nil
}
