package pages

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"

	"rsc.io/qr"
)

// maxQR is how many bytes a code may hold: what a telephone still reads from a screen.
const maxQR = 500

// quiet is how many modules around a code stay light (ISO/IEC 18004 §6.3.8).
const quiet = 4

// QR is a QR code as SVG, to stand in a page. It is dark on light whatever the colours of the page, since not every
// reader takes the other way round. label is what those hear who do not see it. Text of more than 500 bytes is refused.
func QR(text, label string) (template.HTML, error) {
	if len(text) > maxQR {
		return "", fmt.Errorf("make a QR code: %d bytes, expected %d at most", len(text), maxQR)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", fmt.Errorf("make a QR code: %w", err)
	}
	side := strconv.Itoa(code.Size + 2*quiet)
	var b strings.Builder
	b.WriteString(`<svg class="qr" role="img" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ` + side + ` ` + side +
		`" shape-rendering="crispEdges"><title>` + template.HTMLEscapeString(label) + `</title><rect width="` + side +
		`" height="` + side + `" fill="#fff"/><path fill="#000" d="`)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			n := 0 // a run of dark modules is one rectangle
			for x+n < code.Size && code.Black(x+n, y) {
				n++
			}
			if n > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, n, n)
				x += n
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()), nil
}
