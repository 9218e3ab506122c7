package notice

import (
	"encoding/base64"
	"strings"
)

// apprise reads what Apprise posts for json:// and form://, whose keys its users may rename.
var apprise = Face{Name: "apprise", Read: readApprise, Claims: func(r *Request, body Object) bool {
	if form, _, err := r.Form(); body == nil && err == nil {
		body = Object{"message": form.Get(foreign(r, "message")), "type": form.Get(foreign(r, "type"))}
	}
	_, ok := appriseTypes[body.String(foreign(r, "type"))]
	return ok && body.String(foreign(r, "message")) != ""
}}

// appriseTypes are what notifications may be about.
var appriseTypes = map[string]Notice{
	"info":    {},
	"success": {State: Resolved},
	"warning": {Level: Warning},
	"failure": {Level: Error},
}

// foreign is the key that stands for one of ours.
func foreign(r *Request, name string) string {
	for key, ours := range r.Rename {
		if ours == name {
			return key
		}
	}
	return name
}

func readApprise(r *Request) (Reading, error) {
	o, err := fields(r)
	if err != nil {
		return Reading{}, err
	}
	kind := strings.ToLower(o.String(foreign(r, "type")))
	n, ok := appriseTypes[kind]
	if !ok && kind != "" {
		return Reading{}, bad("the type must be info, success, warning or failure")
	}
	n.Title, n.Text = o.String(foreign(r, "title")), o.String(foreign(r, "message"))
	if _, n.Attachments, err = r.Form(); err != nil {
		return Reading{}, err
	}
	list := o[foreign(r, "attachments")]
	if _, ok := list.([]any); !ok && list != nil && list != "" {
		return Reading{}, bad("the attachments must be a list")
	}
	for i, a := range o.List(foreign(r, "attachments")) {
		a, _ := a.(Object)
		data, err := base64.StdEncoding.DecodeString(a.String("base64"))
		if err != nil || len(data) == 0 {
			return Reading{}, bad("the attachment %d has no content in base64", i+1)
		}
		n.Attachments = append(n.Attachments, Attachment{Name: one(a.String("filename"), "attachment"),
			Type: a.String("mimetype"), Data: data})
	}
	if n.Empty() {
		return Reading{}, bad("neither a message nor a title is there")
	}
	return Reading{Notices: []Notice{n}}, nil
}
