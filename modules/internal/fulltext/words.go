package fulltext

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	// leastRunes and mostRunes bound the words of scripts that have spaces; of a longer one the beginning counts.
	leastRunes = 2
	mostRunes  = 32
	// mostWords is how many different words of one message are found, and mostText how many of its bytes are read.
	mostWords = 256
	mostText  = 64 << 10
	// mostSought is how many words somebody may look for at once, and mostLists how many of them are looked up in the
	// index; the message itself tells of the others.
	mostSought = 32
	mostLists  = 8
)

// fold returns a text in which neither case nor forms that are there for compatibility make a difference.
func fold(text string) string {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			// Folding may leave what is not in normal form.
			return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
		}
	}
	for i := range len(text) {
		if upper(text[i]) {
			b := []byte(text)
			for ; i < len(b); i++ {
				if upper(b[i]) {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return text
}

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }

// words returns the words of a text, each once: runs of letters, marks and digits. Where a script puts no spaces
// between words they are pairs of neighbours, and each letter alone as well; what is sought needs the pairs only.
func words(text string, sought bool) []string {
	if len(text) > mostText {
		text = text[:mostText]
	}
	text = fold(text)
	var s set
	for i := 0; i < len(text) && len(s.all) < mostWords; {
		switch r, size := utf8.DecodeRuneInString(text[i:]); {
		case !letter(r):
			i += size
		case dense(r):
			i = s.addDense(text, i, sought)
		default:
			i = s.addWord(text, i)
		}
	}
	return s.all
}

// addWord adds the word that begins at i, and returns where it ends.
func (s *set) addWord(text string, i int) int {
	begin, end, runes := i, 0, 0
	for i < len(text) {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !letter(r) || dense(r) {
			break
		}
		i += size
		if runes++; runes <= mostRunes {
			end = i
		}
	}
	if runes >= leastRunes {
		s.add(text[begin:end])
	}
	return i
}

// addDense adds what the run that begins at i is made of, and returns where it ends.
func (s *set) addDense(text string, i int, sought bool) int {
	begin, before := i, -1
	for i < len(text) {
		r, size := utf8.DecodeRuneInString(text[i:])
		if !letter(r) || !dense(r) {
			break
		}
		if before >= 0 {
			s.add(text[before : i+size])
		}
		if !sought {
			s.add(text[i : i+size])
		}
		before, i = i, i+size
	}
	if sought && before == begin {
		s.add(text[begin:i])
	}
	return i
}

func letter(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
	}
	return r != utf8.RuneError && unicode.In(r, unicode.L, unicode.M, unicode.N)
}

// dense says whether a letter is of a script that puts no spaces between words.
func dense(r rune) bool {
	const prolonged = 0x30FC // a sign of Katakana that belongs to no script
	return r >= 0x0E00 && (r == prolonged || unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai,
		unicode.Lao, unicode.Khmer, unicode.Myanmar))
}

// A set holds words in the order in which they came.
type set struct {
	all  []string
	more map[string]struct{} // the same, once they are many
}

// few is how many words are compared one by one.
const few = 16

func (s *set) has(w string) bool {
	if s.more == nil {
		return slices.Contains(s.all, w)
	}
	_, has := s.more[w]
	return has
}

func (s *set) add(w string) {
	if len(s.all) >= mostWords || s.has(w) {
		return
	}
	s.all = append(s.all, w)
	if s.more == nil && len(s.all) > few {
		s.more = make(map[string]struct{}, 4*few)
		for _, w := range s.all {
			s.more[w] = struct{}{}
		}
	} else if s.more != nil {
		s.more[w] = struct{}{}
	}
}

// peerWord is the word by which the messages of a conversation are found. No word of a text begins like it.
func peerWord(peer string) string {
	if len(peer) > 64 {
		sum := sha256.Sum256([]byte(peer))
		return "@" + hex.EncodeToString(sum[:16])
	}
	return "@" + peer
}
