package s3test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	stampForm = "20060102T150405Z"
	// skew is how far two clocks may be apart.
	skew = 15 * time.Minute
)

// verify checks who signed a request and that its body is what was signed. It returns no code if all is well.
func verify(r *http.Request, body []byte) (status int, code string) {
	said, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" ")
	if !ok {
		return http.StatusForbidden, "AccessDenied"
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(said, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/") // key, date, region, service, aws4_request
	stamp := r.Header.Get("X-Amz-Date")
	when, err := time.Parse(stampForm, stamp)
	switch {
	case len(scope) != 5 || err != nil || scope[1] != stamp[:8] || scope[3] != "s3" || scope[4] != "aws4_request":
		return http.StatusBadRequest, "AuthorizationHeaderMalformed"
	case scope[0] != AccessKey:
		return http.StatusForbidden, "InvalidAccessKeyId"
	case scope[2] != Region:
		return http.StatusBadRequest, "AuthorizationHeaderMalformed"
	case time.Since(when).Abs() > skew:
		return http.StatusForbidden, "RequestTimeTooSkewed"
	}
	sum := r.Header.Get("X-Amz-Content-Sha256")
	signed := strings.Split(fields["SignedHeaders"], ";")
	for _, must := range []string{"host", "x-amz-date", "x-amz-content-sha256"} {
		if !slices.Contains(signed, must) {
			return http.StatusForbidden, "SignatureDoesNotMatch"
		}
	}
	canonical := strings.Join([]string{r.Method, r.URL.EscapedPath(), canonicalQuery(r.URL.Query()),
		canonicalHeaders(r, signed), fields["SignedHeaders"], sum}, "\n")
	text := strings.Join([]string{algorithm, stamp, strings.Join(scope[1:], "/"), hexSum([]byte(canonical))}, "\n")
	key := []byte("AWS4" + SecretKey)
	for _, part := range scope[1:] {
		key = mac(key, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac(key, text))), []byte(fields["Signature"])) {
		return http.StatusForbidden, "SignatureDoesNotMatch"
	}
	if unsigned := sum == "UNSIGNED-PAYLOAD" && len(body) == 0; !unsigned && sum != hexSum(body) {
		// Here nobody puts what is not signed.
		return http.StatusBadRequest, "XAmzContentSHA256Mismatch"
	}
	return 0, ""
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text)) // never fails
	return h.Sum(nil)
}

func canonicalQuery(q url.Values) string {
	var all []string
	for name, values := range q {
		for _, v := range values {
			all = append(all, escape(name)+"="+escape(v))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "&")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func canonicalHeaders(r *http.Request, names []string) string {
	var b strings.Builder
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		b.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	return b.String()
}
