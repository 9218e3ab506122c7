package notice

import (
	"fmt"
	"strings"
)

// GitHub, and those whose requests have its shape: Gitea (Gogs, too) and Forgejo, which send the headers of all before
// them at once, so the youngest name is the one to ask for first.
var (
	forgejo = Face{Name: "forgejo", Read: readGitHub, Claims: hasHeader("X-Forgejo-Event"), Events: forgeEvents}
	gitea   = Face{Name: "gitea", Read: readGitHub, Claims: hasHeader("X-Gitea-Event", "X-Gogs-Event"),
		Events: forgeEvents}
	github = Face{Name: "github", Read: readGitHub, Claims: hasHeader("X-Github-Event"), Events: forgeEvents}
)

// hubs are the forges of one shape, the youngest name first.
var hubs = [...]string{"Forgejo", "Gitea", "Gogs", "Github"}

// hasHeader claims requests that have one of the headers.
func hasHeader(names ...string) func(*Request, Object) bool {
	return func(r *Request, _ Object) bool {
		for _, name := range names {
			if r.Header.Get(name) != "" {
				return true
			}
		}
		return false
	}
}

// readGitHub reads the webhooks of GitHub, Gitea and Forgejo: JSON, or a form with the field payload; or a query with
// it, which Gitea sends where it is told to use GET.
func readGitHub(r *Request) (Reading, error) {
	var hub, event, delivery string
	for _, hub = range hubs {
		if event = r.Header.Get("X-" + hub + "-Event"); event != "" {
			delivery = r.Header.Get("X-" + hub + "-Delivery")
			break
		}
	}
	if event == "" {
		return Reading{}, bad("no header X-GitHub-Event, X-Gitea-Event or X-Forgejo-Event says what has happened")
	}
	o, err := payload(r)
	if err != nil {
		return Reading{}, err
	}
	h := happening{
		repo:   o.Object("repository").String("full_name"),
		who:    one(login(o.Object("sender")), login(o.Object("pusher")), "somebody"),
		dedupe: delivery,
	}
	if delivery != "" {
		h.dedupe = strings.ToLower(hub) + " " + delivery
	}
	switch event {
	case "ping":
		h.who, h.what, h.dedupe = "", "the hook works", ""
		h.repo = one(h.repo, login(o.Object("organization")), "GitHub")
		return h.reading("")
	case "push":
		h.link = one(o.String("compare"), o.String("compare_url"))
		total, _ := o.Int("total_commits") // Gitea's
		return h.push(o, o.List("commits"), total)
	case "delete":
		// Tags come as a push, too, and branches of GitHub.
		if kind, name := o.String("ref_type"), o.String("ref"); kind == "branch" && hub != "Github" {
			_, name = ref(name)
			h.what = "deleted branch " + name
			return h.reading(eventPush)
		}
	case "pull_request":
		return h.pullRequest(o)
	case "issues":
		return h.issue(o)
	case "issue_comment", "pull_request_review_comment", "pull_request_comment", "commit_comment":
		return h.hubComment(o)
	case "pull_request_review", "pull_request_approved", "pull_request_rejected":
		return h.review(o, event)
	case "release":
		return h.release(o)
	case "workflow_run":
		return h.workflowRun(o)
	case "check_suite":
		return h.checkSuite(o)
	case "action_run_failure", "action_run_recover", "action_run_success":
		return h.actionRun(o, event)
	}
	return ignored("events %s are not shown", shorten(event, maxComment))
}

// payload is the JSON of a request of a forge.
func payload(r *Request) (Object, error) {
	if r.Query.Has("payload") && len(r.Body) == 0 {
		return ParseObject([]byte(r.Query.Get("payload")))
	}
	return r.Object()
}

// login is what a user or an organization of GitHub or Gitea is called.
func login(user Object) string {
	return one(user.String("login"), user.String("username"), user.String("name"))
}

// numbered is what an issue or a pull request is called: #12 and its title. The number may be in what is around it.
func (h *happening) numbered(kind string, x, around Object) string {
	number := one(x.String("number"), around.String("number"))
	if number == "" {
		return kind + quoted(x.String("title"))
	}
	h.key = "#" + number
	return kind + " #" + number + quoted(x.String("title"))
}

func (h *happening) pullRequest(o Object) (Reading, error) {
	pr, err := need(o, "pull_request")
	if err != nil {
		return Reading{}, err
	}
	action := o.String("action")
	switch action {
	case "opened", "reopened":
	case "closed":
		if pr.String("merged") == "true" {
			action = "merged"
		}
	case "reviewed": // Gitea's, of a review without a comment
		return h.review(o, "")
	default:
		return ignored("pull requests that are %s are not shown", shorten(action, maxComment))
	}
	h.what, h.link = action+" "+h.numbered("pull request", pr, o), pr.String("html_url")
	return h.reading(eventPullRequest)
}

func (h *happening) issue(o Object) (Reading, error) {
	issue, err := need(o, "issue")
	if err != nil {
		return Reading{}, err
	}
	action := o.String("action")
	switch action {
	case "opened", "closed", "reopened":
	default:
		return ignored("issues that are %s are not shown", shorten(action, maxComment))
	}
	h.what, h.link = action+" "+h.numbered("issue", issue, o), issue.String("html_url")
	return h.reading(eventIssue)
}

func (h *happening) hubComment(o Object) (Reading, error) {
	if o.Object("comment") == nil && o.Object("review") != nil {
		return h.review(o, "") // Gitea's
	}
	comment, err := need(o, "comment")
	if err != nil {
		return Reading{}, err
	}
	if action := o.String("action"); action != "created" {
		return ignored("comments that are %s are not shown", shorten(action, maxComment))
	}
	h.link = comment.String("html_url")
	about := "commit " + short(comment.String("commit_id"))
	if pr := o.Object("pull_request"); pr != nil {
		about = h.numbered("pull request", pr, o)
	} else if issue := o.Object("issue"); issue != nil {
		kind := "issue"
		if o.String("is_pull") == "true" || issue.Object("pull_request") != nil {
			kind = "pull request"
		}
		about = h.numbered(kind, issue, o)
	}
	return h.comment(about, comment.String("body"))
}

// review is what a reviewer says: GitHub's, and those of Gitea, whose event or type is the verdict.
func (h *happening) review(o Object, event string) (Reading, error) {
	review, err := need(o, "review")
	if err != nil {
		return Reading{}, err
	}
	pr, err := need(o, "pull_request")
	if err != nil {
		return Reading{}, err
	}
	if action := o.String("action"); action != "submitted" && action != "reviewed" {
		return ignored("reviews that are %s are not shown", shorten(action, maxComment))
	}
	about := h.numbered("pull request", pr, o)
	h.link = one(review.String("html_url"), pr.String("html_url"))
	h.text = shorten(one(review.String("body"), review.String("content")), maxComment)
	verdict := one(review.String("state"), review.String("type"), event)
	switch {
	case strings.HasSuffix(verdict, "approved"):
		h.what = "approved " + about
	case strings.HasSuffix(verdict, "rejected"), verdict == "changes_requested":
		h.what = "asked for changes of " + about
	case h.text == "": // the comments on lines come by themselves
		return ignored("a review without a text")
	default:
		return h.comment(about, h.text)
	}
	return h.reading(eventComment)
}

func (h *happening) release(o Object) (Reading, error) {
	release, err := need(o, "release")
	if err != nil {
		return Reading{}, err
	}
	if action := o.String("action"); action != "published" {
		return ignored("releases that are %s are not shown", shorten(action, maxComment))
	}
	tag, name := release.String("tag_name"), release.String("name")
	h.what, h.link = "published release "+tag, release.String("html_url")
	if strings.TrimSpace(name) != tag {
		h.what += quoted(name)
	}
	return h.reading(eventRelease)
}

// verdict says what became of a build, by the conclusions of GitHub.
func verdict(conclusion string) (failed, known bool) {
	switch conclusion {
	case "failure", "timed_out", "startup_failure":
		return true, true
	case "success":
		return false, true
	}
	return false, false
}

// built says what became of a build.
func (h *happening) built(failed bool, name, branch string) (Reading, error) {
	outcome := "succeeded"
	if failed {
		outcome = "failed"
	}
	h.who, h.what = "", name+" "+outcome
	if branch != "" {
		h.what += " on " + branch
	}
	h.key = " " + name + " " + branch
	return h.build(failed)
}

func (h *happening) workflowRun(o Object) (Reading, error) {
	run, err := need(o, "workflow_run")
	if err != nil {
		return Reading{}, err
	}
	failed, known := verdict(run.String("conclusion"))
	if o.String("action") != "completed" || !known {
		return ignored("builds are shown when they fail, and when they succeed again")
	}
	name := one(run.String("name"), o.Object("workflow").String("name"), "the workflow")
	h.link, h.text = run.String("html_url"), shorten(one(run.String("display_title")), maxComment)
	if n := run.String("run_number"); n != "" {
		h.text = strings.TrimSpace(fmt.Sprintf("run %s %s", n, h.text))
	}
	return h.built(failed, name, run.String("head_branch"))
}

func (h *happening) checkSuite(o Object) (Reading, error) {
	suite, err := need(o, "check_suite")
	if err != nil {
		return Reading{}, err
	}
	failed, known := verdict(suite.String("conclusion"))
	switch app := suite.Object("app"); {
	case app.String("slug") == "github-actions":
		return ignored("builds of GitHub Actions are shown by their events workflow_run")
	case o.String("action") != "completed" || !known:
		return ignored("builds are shown when they fail, and when they succeed again")
	default:
		if repo, sha := o.Object("repository").String("html_url"), suite.String("head_sha"); repo != "" && sha != "" {
			h.link = repo + "/commit/" + sha + "/checks"
		}
		return h.built(failed, one(app.String("name"), "the checks"), suite.String("head_branch"))
	}
}

// actionRun is a run of Forgejo's actions. The event says what became of it.
func (h *happening) actionRun(o Object, event string) (Reading, error) {
	run, err := need(o, "run")
	if err != nil {
		return Reading{}, err
	}
	h.repo = one(h.repo, run.Object("repository").String("full_name"))
	h.link, h.text = run.String("html_url"), shorten(one(run.String("title")), maxComment)
	name, branch := one(run.String("workflow_id"), "the workflow"), run.String("prettyref")
	return h.built(event == "action_run_failure", name, branch)
}
