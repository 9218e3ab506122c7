package notice

import (
	"fmt"
	"strings"
)

// gitlab reads the webhooks of GitLab. What has happened is in the body, too, as object_kind; the header X-Gitlab-Event
// has the same in other words, or System Hook for all of an instance.
var gitlab = Face{Name: "gitlab", Read: readGitLab, Claims: hasHeader("X-Gitlab-Event"), Events: forgeEvents}

func readGitLab(r *Request) (Reading, error) {
	o, err := payload(r)
	if err != nil {
		return Reading{}, err
	}
	kind := one(o.String("object_kind"), o.String("event_name"))
	if kind == "" {
		if event := r.Header.Get("X-Gitlab-Event"); event != "" {
			return ignored("events %s are not shown", shorten(event, maxComment))
		}
		return Reading{}, bad("neither object_kind nor event_name says what has happened")
	}
	project, user := o.Object("project"), o.Object("user")
	h := happening{
		repo: project.String("path_with_namespace"),
		who: one(user.String("username"), user.String("name"), o.String("user_username"), o.String("user_name"),
			"somebody"),
	}
	// The same for each try, so it says what came before.
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		h.dedupe = "gitlab " + key
	}
	switch kind {
	case "push", "tag_push":
		if web, from, to := project.String("web_url"), o.String("before"), o.String("after"); web != "" && !none(from) &&
			from != "" && to != "" {
			h.link = web + "/-/compare/" + from + "..." + to
		}
		total, _ := o.Int("total_commits_count")
		return h.push(o, o.List("commits"), total)
	case "merge_request":
		return h.gitlabItem(o, eventPullRequest, "merge request", "!")
	case "issue":
		return h.gitlabItem(o, eventIssue, "issue", "#")
	case "work_item":
		return h.gitlabItem(o, eventIssue, strings.ToLower(one(o.Object("object_attributes").String("type"), "item")), "#")
	case "note":
		return h.gitlabNote(o)
	case "release":
		if action := o.String("action"); action != "create" {
			return ignored("releases with the action %s are not shown", shorten(action, maxComment))
		}
		tag, name := o.String("tag"), o.String("name")
		h.who, h.what, h.link = "", "release "+tag+" is published", o.String("url")
		if strings.TrimSpace(name) != tag {
			h.what = "release " + tag + quoted(name) + " is published"
		}
		return h.reading(eventRelease)
	case "pipeline":
		return h.gitlabPipeline(o)
	}
	return ignored("events %s are not shown", shorten(kind, maxComment))
}

// gitlabItem is an issue or a merge request; sign stands before its number.
func (h *happening) gitlabItem(o Object, event, kind, sign string) (Reading, error) {
	item, err := need(o, "object_attributes")
	if err != nil {
		return Reading{}, err
	}
	action := map[string]string{"open": "opened", "close": "closed", "reopen": "reopened",
		"merge": "merged"}[item.String("action")]
	if action == "" {
		return ignored("the action %s is not shown", shorten(item.String("action"), maxComment))
	}
	h.what, h.link = action+" "+h.gitlabNumbered(kind, sign, item), item.String("url")
	return h.reading(event)
}

func (h *happening) gitlabNumbered(kind, sign string, item Object) string {
	number := item.String("iid")
	if number == "" {
		return kind + quoted(item.String("title"))
	}
	h.key = sign + number
	return kind + " " + h.key + quoted(item.String("title"))
}

func (h *happening) gitlabNote(o Object) (Reading, error) {
	note, err := need(o, "object_attributes")
	if err != nil {
		return Reading{}, err
	}
	if action := one(note.String("action"), "create"); action != "create" || note.String("system") == "true" {
		return ignored("comments that are changed, or that GitLab makes, are not shown")
	}
	h.link = note.String("url")
	about := "something"
	if x := o.Object("merge_request"); x != nil {
		about = h.gitlabNumbered("merge request", "!", x)
	} else if x := o.Object("issue"); x != nil {
		about = h.gitlabNumbered("issue", "#", x)
	} else if x := o.Object("snippet"); x != nil {
		about = "snippet" + quoted(x.String("title"))
	} else if id := o.Object("commit").String("id"); id != "" {
		about = "commit " + short(id)
	}
	return h.comment(about, note.String("note"))
}

func (h *happening) gitlabPipeline(o Object) (Reading, error) {
	pipe, err := need(o, "object_attributes")
	if err != nil {
		return Reading{}, err
	}
	status := pipe.String("status")
	if status != "failed" && status != "success" {
		return ignored("pipelines are shown when they fail, and when they succeed again")
	}
	id := pipe.String("id")
	h.link = pipe.String("url")
	if web := o.Object("project").String("web_url"); h.link == "" && web != "" && id != "" {
		h.link = web + "/-/pipelines/" + id
	}
	first, _, _ := strings.Cut(strings.TrimSpace(o.Object("commit").String("message")), "\n")
	h.text = shorten(first, maxComment)
	if id != "" {
		h.text = strings.TrimSpace(fmt.Sprintf("pipeline %s %s", id, h.text))
	}
	return h.built(status == "failed", one(pipe.String("name"), "the pipeline"), pipe.String("ref"))
}
