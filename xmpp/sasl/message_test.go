package sasl

import (
	"strings"
	"testing"
)

func TestClientFirstMessageIsReadStrictly(t *testing.T) {
	for in, want := range map[string]clientFirst{
		"n,,n=user,r=abc":          {header: "n,,", bare: "n=user,r=abc", flag: 'n', user: "user", nonce: "abc"},
		"y,a=zed,n=user,r=a=b":     {header: "y,a=zed,", bare: "n=user,r=a=b", flag: 'y', authzID: "zed", user: "user", nonce: "a=b"},
		"p=tls-x.1,,n=u,r=c,x=y=z": {header: "p=tls-x.1,,", bare: "n=u,r=c,x=y=z", flag: 'p', binding: "tls-x.1", user: "u", nonce: "c"},
		"n,a==2C=3D,n=a=2C=3D=3Db,r=c": {header: "n,a==2C=3D,", bare: "n=a=2C=3D=3Db,r=c", flag: 'n', authzID: ",=",
			user: "a,==b", nonce: "c"},
		"n,,n=\u00fc =3D,r=!~": {header: "n,,", bare: "n=\u00fc =3D,r=!~", flag: 'n', user: "\u00fc =", nonce: "!~"},
	} {
		if got, err := parseClientFirst(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	big := strings.Repeat("x", MaxUser+1)
	for in, want := range map[string]Failure{
		"": MalformedRequest, "n": MalformedRequest, "n,": MalformedRequest, "n,,": MalformedRequest, ",,n=u,r=c": MalformedRequest,
		"x,,n=u,r=c": MalformedRequest, "nn,,n=u,r=c": MalformedRequest, "N,,n=u,r=c": MalformedRequest, "F,n,,n=u,r=c": MalformedRequest,
		"p,,n=u,r=c": MalformedRequest, "p=,,n=u,r=c": MalformedRequest, "p=a_b,,n=u,r=c": MalformedRequest, "p=\u00fc,,n=u,r=c": MalformedRequest,
		"n,zed,n=u,r=c": MalformedRequest, "n,A=z,n=u,r=c": MalformedRequest, "n,a=,n=u,r=c": InvalidAuthzID, "n,a==,n=u,r=c": InvalidAuthzID,
		"n,a==2c,n=u,r=c": InvalidAuthzID, "n,a=" + strings.Repeat("x", MaxAuthzID+1) + ",n=u,r=c": InvalidAuthzID,
		"n,,m=x,n=u,r=c": MalformedRequest, "n,,r=c,n=u": MalformedRequest, "n,,n=u": MalformedRequest, "n,,n=,r=c": MalformedRequest,
		"n,,n=a=b,r=c": MalformedRequest, "n,,n=a=2,r=c": MalformedRequest, "n,,n=a=2c,r=c": MalformedRequest, "n,,n=a=,r=c": MalformedRequest,
		"n,,n=" + big + ",r=c": MalformedRequest, "n,,n=u,r=": MalformedRequest, "n,,n=u,r=a b": MalformedRequest, "n,,n=u,r=\u00fc": MalformedRequest,
		"n,,n=u,r=" + big + "x": MalformedRequest, "n,,n=u,r=c,": MalformedRequest, "n,,n=u,r=c,x": MalformedRequest, "n,,n=u,r=c,x=": MalformedRequest,
		"n,,n=u,r=c,1=x": MalformedRequest, "n,,n=u,r=c,m=x": MalformedRequest, "n,,n=u,r=c,n=v": MalformedRequest, "n,,n=u,r=c,x=1,r=d": MalformedRequest,
		"n,,n=u,r=c,x=1,,y=2": MalformedRequest, "n,,n=u\x00,r=c": MalformedRequest, "n,,n=\xff,r=c": MalformedRequest, "n,,n=u,r=c\x7f": MalformedRequest,
		"n,,n=u,r=c\n": MalformedRequest, "n,,n=u,r=c,x=" + strings.Repeat("x", MaxMessage): MalformedRequest, "n, ,n=u,r=c": MalformedRequest,
	} {
		if got, err := parseClientFirst(in); err != want {
			t.Errorf("%.80q: %+v, %v; want %v", in, got, err, want)
		}
	}
}

func TestClientFinalMessageIsReadStrictly(t *testing.T) {
	for in, want := range map[string]clientFinal{
		"c=biws,r=abc,p=QUJD":         {"c=biws,r=abc", "biws", "abc", "QUJD"},
		"c=bg==,r=a=b,x=1,y==,p=QQ==": {"c=bg==,r=a=b,x=1,y==", "bg==", "a=b", "QQ=="},
	} {
		if got, err := parseClientFinal(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for in, want := range map[string]Failure{
		"": MalformedRequest, "c=biws": MalformedRequest, "c=biws,r=abc": MalformedRequest, "c=biws,p=QUJD": MalformedRequest,
		"r=abc,c=biws,p=QUJD": MalformedRequest, "p=QUJD,c=biws,r=abc": MalformedRequest, ",p=QUJD": MalformedRequest,
		"c=biws,r=abc,p=QUJD,x=1": MalformedRequest, "c=biws,r=abc,p=QUJD,p=QUJD": MalformedRequest, "c=biws,r=abc,m=1,p=QUJD": MalformedRequest,
		"c=biws,r=abc,,p=QUJD": MalformedRequest, "c=biws,r=a\x01,p=QUJD": MalformedRequest, "c=biws,r=,p=QUJD": MalformedRequest,
		"c=,r=abc,p=QUJD": IncorrectEncoding, "c=biw,r=abc,p=QUJD": IncorrectEncoding, "c=biws,r=abc,p=": IncorrectEncoding,
		"c=biws,r=abc,p=QU\nJ": IncorrectEncoding, "c=biws,r=abc,p=QUJ-": IncorrectEncoding, "c=biws,r=abc,p=Q===": IncorrectEncoding,
		"c=biws,r=abc,p=QQ=A": IncorrectEncoding, "c=biws,r=abc,p=QUJD\r\n\r\n": IncorrectEncoding, "c=biws\x00,r=abc,p=QUJD": MalformedRequest,
		"c=biws,r=abc,x=\xff,p=QUJD": MalformedRequest, "c=biws,r=abc,x=" + strings.Repeat("x", MaxMessage) + ",p=QUJD": MalformedRequest,
	} {
		if got, err := parseClientFinal(in); err != want {
			t.Errorf("%.80q: %+v, %v; want %v", in, got, err, want)
		}
	}
}

func TestProofOfWrongLengthIsAnEncodingError(t *testing.T) {
	for _, proof := range []string{"QUJD", "v0X8v3Bz2T0CJGbJQyF0X+HI4Q==", "v0X8v3Bz2T0CJGbJQyF0X+HI4TsA", "v0X8v3Bz2T0CJGbJQyF0X+HI4Tt="} {
		s, err := New(ScramSHA1, verona())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next([]byte("n,,n=juliet,r=abc")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next([]byte("c=biws,r=" + s.(*scram).full + ",p=" + proof)); err != IncorrectEncoding {
			t.Errorf("%s: %v", proof, err)
		}
	}
}

func TestPlainMessageIsReadStrictly(t *testing.T) {
	for in, want := range map[string][3]string{
		"\x00tim\x00tanstaaftanstaaf":          {"", "tim", "tanstaaftanstaaf"},
		"Ursel\x00Kurt\x00xipj3plmq":           {"Ursel", "Kurt", "xipj3plmq"},
		"\x00\u00fc@b\x00 p=a,s\u00df\x7f\x01": {"", "\u00fc@b", " p=a,s\u00df\x7f\x01"},
	} {
		a, u, p, err := parsePlain(in)
		if err != nil || [3]string{a, u, p} != want {
			t.Errorf("%q: %q %q %q, %v", in, a, u, p, err)
		}
	}
	for in, want := range map[string]Failure{
		"": MalformedRequest, "tim": MalformedRequest, "\x00": MalformedRequest, "\x00\x00": MalformedRequest, "tim\x00pw": MalformedRequest,
		"\x00tim\x00": MalformedRequest, "\x00\x00pw": MalformedRequest, "\x00tim\x00pw\x00": MalformedRequest, "\x00tim\x00p\x00w": MalformedRequest,
		"\x00t\xff\x00pw": MalformedRequest, "\x00" + strings.Repeat("u", MaxUser+1) + "\x00pw": MalformedRequest,
		"\x00u\x00" + strings.Repeat("p", MaxPassword+1): MalformedRequest, strings.Repeat("a", MaxAuthzID+1) + "\x00u\x00p": InvalidAuthzID,
		"\x00u\x00" + strings.Repeat("p", MaxMessage): MalformedRequest,
	} {
		if _, _, _, err := parsePlain(in); err != want {
			t.Errorf("%.40q: %v, want %v", in, err, want)
		}
	}
}

func FuzzClientFirst(f *testing.F) {
	for _, s := range []string{"n,,n=user,r=abc", "p=tls-exporter,a=x=2Cy,n=a=3Db,r=c,x=y", "y,,m=x,n=u,r=c", "n,,n==,r=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := parseClientFirst(in)
		if err != nil {
			return
		}
		if m.header+m.bare != in {
			t.Errorf("%q and %q are not all of %q", m.header, m.bare, in)
		}
		again, ok := decodeName(encodeName(m.user))
		if !ok || again != m.user || !strings.HasPrefix(m.bare, "n="+encodeName(m.user)+",r="+m.nonce) {
			t.Errorf("user %q, nonce %q from %q", m.user, m.nonce, m.bare)
		}
	})
}

func FuzzClientFinal(f *testing.F) {
	for _, s := range []string{"c=biws,r=abc,p=QUJD", "c=bg==,r=a,x=1,p=QQ==", ",p=", "c=biws,r=abc,p=QUJD,p=QUJD"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := parseClientFinal(in)
		if err == nil && (m.withoutProof+",p="+m.proof != in || !strings.HasPrefix(in, "c="+m.binding+",r="+m.nonce)) {
			t.Errorf("%q read as %+v", in, m)
		}
	})
}

func FuzzServerFirst(f *testing.F) {
	for _, s := range []string{"r=abc,s=QUJD,i=4096", "r=abc,s=QUJD,i=4096,x=1", "e=other-error", "r=,s=,i="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := parseServerFirst(in)
		if err == nil && (m.iterations < 1 || !strings.HasPrefix(in, "r="+m.nonce+",s="+m.salt+",i=")) {
			t.Errorf("%q read as %+v", in, m)
		}
	})
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"\x00tim\x00pw", "a\x00b\x00c", "\x00\x00", "a\x00b\x00c\x00d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		a, u, p, err := parsePlain(in)
		if err == nil && (a+"\x00"+u+"\x00"+p != in || u == "" || p == "") {
			t.Errorf("%q read as %q %q %q", in, a, u, p)
		}
	})
}

// FuzzServer talks to each mechanism in two arbitrary messages.
func FuzzServer(f *testing.F) {
	f.Add("n,,n=juliet,r=abc", "c=biws,r=abc,p=QUJD")
	f.Add("p=tls-exporter,,n=juliet,r=abc", "c=biws,r=abc,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
	f.Add("\x00juliet\x00guess", "")
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, m := range []Mechanism{ScramSHA256Plus, ScramSHA1, Plain} {
			s, err := New(m, verona(channel...))
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range []string{first, second} {
				_, done, err := s.Next([]byte(in))
				if done && !(m == Plain && strings.HasSuffix(in, "\x00r0m30myr0m30")) {
					t.Errorf("%s: logged in by %q and %q", m, first, second)
				}
				if f := Condition(err); err != nil && f == TemporaryAuthFailure {
					t.Errorf("%s: %v", m, err)
				}
			}
		}
	})
}
