package notice

import (
	"strconv"
	"strings"

	"jackdaw/modules/internal/styling"
)

// block is one of the blocks that Slack lays messages out with. What is only to be pressed or filled in is left out.
func (r *rich) block(b Object) {
	switch b.String("type") {
	case "header":
		r.heading(r.blockText(b.Object("text")), "")
	case "section":
		r.add(r.blockText(b.Object("text")))
		for _, f := range objects(b, "fields") {
			r.add(r.blockField(f))
		}
		r.element(b.Object("accessory"))
	case "context":
		var texts []string
		for _, e := range objects(b, "elements") {
			if e.String("type") != "image" {
				texts = append(texts, r.blockText(e))
			}
		}
		r.add(strings.TrimSpace(strings.Join(texts, " ")))
	case "actions":
		for _, e := range objects(b, "elements") {
			r.element(e)
		}
	case "image":
		if title := r.blockText(b.Object("title")); title != "" {
			r.add(title)
		} else {
			r.add(plain(r.take(b.String("alt_text"))))
		}
		r.picture(b.String("image_url"))
	case "video":
		r.heading(r.blockText(b.Object("title")), b.String("title_url"))
		r.add(r.blockText(b.Object("description")))
	case "markdown":
		r.add(strings.TrimSpace(styling.FromMarkdown(r.take(b.String("text")))))
	case "rich_text":
		for _, e := range objects(b, "elements") {
			r.richText(e)
		}
	}
}

// blockText is a text object, whose type says whether it has markup.
func (r *rich) blockText(o Object) string {
	if o.String("type") == "plain_text" {
		return plain(r.take(o.String("text")))
	}
	return r.styled(o.String("text"))
}

// blockField is a field of a section. Its name is usually a line in strong letters above it.
func (r *rich) blockField(f Object) string {
	text := r.blockText(f)
	name, value, ok := strings.Cut(text, "\n")
	name, strong := strings.CutPrefix(strings.TrimSpace(name), "*")
	name, end := strings.CutSuffix(name, "*")
	value = strings.TrimSpace(value)
	if !ok || !strong || !end || strings.Contains(value, "\n") {
		return text
	}
	if r.said != "" && len(r.said) <= maxMarkup && strings.Contains(r.said, value) {
		return ""
	}
	return strings.TrimRight(name, ": ") + ": " + value
}

// element is what stands beside a section, or among actions.
func (r *rich) element(e Object) {
	switch e.String("type") {
	case "image":
		r.picture(e.String("image_url"))
	case "button", "workflow_button":
		r.button(e)
	}
}

// richText is a paragraph of a rich text, a list, a quote or code.
func (r *rich) richText(e Object) {
	switch e.String("type") {
	case "rich_text_section":
		r.add(strings.TrimSpace(r.spans(e)))
	case "rich_text_preformatted":
		if code := strings.Trim(r.spans(e), "\n"); code != "" {
			r.add("```\n" + code + "\n```")
		}
	case "rich_text_quote":
		if text := strings.TrimSpace(r.spans(e)); text != "" {
			r.add("> " + strings.ReplaceAll(text, "\n", "\n> "))
		}
	case "rich_text_list":
		depth, _ := e.Int("indent")
		indent := strings.Repeat("  ", int(min(max(depth, 0), 8)))
		for i, item := range objects(e, "elements") {
			mark := "- "
			if e.String("style") == "ordered" {
				mark = strconv.Itoa(i+1) + ". "
			}
			r.add(indent + mark + strings.TrimSpace(r.spans(item)))
		}
	}
}

// spans are the pieces of a paragraph.
func (r *rich) spans(e Object) string {
	var b strings.Builder
	for _, one := range objects(e, "elements") {
		switch one.String("type") {
		case "text":
			b.WriteString(r.span(one))
		case "link":
			b.WriteString(linked(r.keep(one.String("text")), r.keep(one.String("url"))))
		case "emoji":
			b.WriteString(emojiOr(r.keep(one.String("name"))))
		case "user":
			b.WriteString("@" + r.keep(one.String("user_id")))
		case "usergroup":
			b.WriteString("@" + r.keep(one.String("usergroup_id")))
		case "channel":
			b.WriteString("#" + r.keep(one.String("channel_id")))
		case "broadcast":
			b.WriteString("@all")
		case "date":
			b.WriteString(r.keep(one.String("fallback")))
		case "color":
			b.WriteString(r.keep(one.String("value")))
		}
	}
	return b.String()
}

// keep is take with the white space around it.
func (r *rich) keep(s string) string {
	s = head(s, r.left)
	r.left -= len(s)
	return s
}

// span is a text with a style. The marks of message styling stand next to it, and end on its line (XEP-0393 §5.2).
func (r *rich) span(o Object) string {
	text := r.keep(o.String("text"))
	inner := strings.TrimSpace(text)
	if inner == "" || strings.Contains(inner, "\n") {
		return text
	}
	before, behind, _ := strings.Cut(text, inner)
	style := o.Object("style")
	for _, s := range [...]struct{ name, mark string }{{"code", "`"}, {"strike", "~"}, {"italic", "_"}, {"bold", "*"}} {
		if style.String(s.name) == "true" {
			inner = s.mark + inner + s.mark
		}
	}
	return before + inner + behind
}

// emojiOr is the emoji of a short code, or the code.
func emojiOr(code string) string {
	if sign := emoji(code); sign != "" {
		return sign
	}
	return ":" + code + ":"
}
