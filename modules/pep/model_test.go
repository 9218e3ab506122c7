package pep

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"jackdaw/modules/internal/moduletest"
)

// model is the plainest node there is: items in the order of their publication.
type model struct {
	exists bool
	room   int
	items  []string // "id=text"
}

func (m *model) drop(id string) {
	m.items = slices.DeleteFunc(m.items, func(s string) bool { return strings.HasPrefix(s, id+"=") })
}

func (m *model) trim() { m.items = m.items[max(0, len(m.items)-m.room):] }

func TestItemsAreThoseOfThePlainestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		w.limits.Items = 5
		desk := moduletest.Login(t, w.Router, "juliet/desk")
		m := model{room: 1}
		ids := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"})
		texts := rapid.StringMatching("[a-z]{1,5}")
		answered := func(payload string, ok bool) {
			rt.Helper()
			got := w.do(desk, "set", "", payload)
			if (got == "ok" || strings.HasPrefix(got, "<")) != ok {
				rt.Fatalf("%s: %s", payload, got)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(rt *rapid.T) {
				id, text := ids.Draw(rt, "id"), texts.Draw(rt, "text")
				answered(publishXML("urn:n", id, text), true)
				m.exists = true
				m.drop(id)
				m.items = append(m.items, id+"="+text)
				m.trim()
			},
			"publish several": func(rt *rapid.T) {
				some := rapid.SliceOfNDistinct(ids, 1, 6, rapid.ID[string]).Draw(rt, "ids")
				payload := "<publish node='urn:n'>"
				for _, id := range some {
					payload += itemXML(id, "x")
				}
				ok := len(some) <= m.room
				answered(pubsubXML(payload+"</publish>"), ok)
				if !ok {
					return
				}
				m.exists = true
				for _, id := range some {
					m.drop(id)
					m.items = append(m.items, id+"=x")
				}
				m.trim()
			},
			"retract": func(rt *rapid.T) {
				id := ids.Draw(rt, "id")
				there := slices.ContainsFunc(m.items, func(s string) bool { return strings.HasPrefix(s, id+"=") })
				answered(pubsubXML("<retract node='urn:n'><item id='"+id+"'/></retract>"), there)
				m.drop(id)
			},
			"configure": func(rt *rapid.T) {
				room := rapid.IntRange(1, 5).Draw(rt, "room")
				answered(ownerXML("<configure node='urn:n'>"+formXML("node_config", "max_items", string(rune('0'+room)))+"</configure>"), m.exists)
				if m.exists {
					m.room = room
					m.trim()
				}
			},
			"purge": func(*rapid.T) {
				answered(ownerXML("<purge node='urn:n'/>"), m.exists)
				m.items = nil
			},
			"delete": func(*rapid.T) {
				answered(ownerXML("<delete node='urn:n'/>"), m.exists)
				m = model{room: 1}
			},
			"restart": func(*rapid.T) { w.start() },
			"": func(rt *rapid.T) {
				want := noSuch
				if m.exists {
					want = "<items node='urn:n'>"
					for _, it := range m.items {
						id, text, _ := strings.Cut(it, "=")
						want += itemXML(id, text)
					}
					want = moduletest.Canonical(t, pubsubXML(want+"</items>"))
				}
				if got := w.do(desk, "get", "", pubsubXML("<items node='urn:n'/>")); got != want {
					rt.Fatalf("got %s\nwant %s", got, want)
				}
			},
		})
	})
}
