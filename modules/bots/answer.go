package bots

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"jackdaw/xmpp"
)

// maxMessages is how many messages one answer may be.
const maxMessages = 10

// An answer is what a program has to say.
type answer struct {
	texts   []string
	private bool // to the one who asked alone, in a room
}

// readAnswer reads the answer of a status of 200 to 299. It says nothing for 202, 204, and where the body is empty.
func readAnswer(status int, contentType string, body []byte) (a answer, err error) {
	if status == http.StatusAccepted || status == http.StatusNoContent || len(strings.TrimSpace(string(body))) == 0 {
		return answer{}, nil
	}
	media := "text/plain"
	if contentType != "" {
		if media, _, err = mime.ParseMediaType(contentType); err != nil {
			return answer{}, errors.New("its Content-Type cannot be read")
		}
	}
	var texts []string
	switch {
	case media == "text/plain":
		texts = []string{string(body)}
	case media == "application/json":
		var in struct {
			Text     *string  `json:"text"`
			Private  bool     `json:"private"`
			Messages []string `json:"messages"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return answer{}, fmt.Errorf("it is no JSON of an answer: %w", err)
		}
		if in.Text != nil {
			texts = append(texts, *in.Text)
		}
		texts = append(texts, in.Messages...)
		a.private = in.Private
	default:
		return answer{}, errors.New("its Content-Type is neither text/plain nor application/json")
	}
	for _, t := range texts {
		if t = strings.Trim(t, "\r\n"); t == "" {
			continue
		}
		if !xmpp.ValidText(t) {
			return answer{}, errors.New("there is a character in it that XML has no place for, or it is not UTF-8")
		}
		a.texts = append(a.texts, t)
	}
	if len(a.texts) > maxMessages {
		return answer{}, fmt.Errorf("it has %d messages, and %d are the most", len(a.texts), maxMessages)
	}
	return a, nil
}
