// Command portable measures what an import and an export of large archives take: it writes a file of XEP-0227, has
// `jackdaw import` read it into an empty store and `jackdaw export` write it again, and prints the time and the most
// memory of each as a line of JSON. With -from ejabberd the file is a dump of ejabberd's tables, in which the accounts
// take turns.
//
//	go run ./testsuite/load/portable -jackdaw ./jackdaw -messages 1000000
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	program := flag.String("jackdaw", "./jackdaw", "the binary")
	messages := flag.Int("messages", 1_000_000, "archived messages in all")
	accounts := flag.Int("accounts", 10, "accounts that share them")
	from := flag.String("from", "xep0227", "what the file is: xep0227 or ejabberd")
	flag.Parse()
	dir, err := os.MkdirTemp("", "jackdaw-portable-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "in.xml")
	fill := write
	if *from == "ejabberd" {
		fill = dump
	}
	if err := fill(file, *messages, *accounts); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "jackdaw.yaml"), []byte("hosts:\n  - domain: localhost\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	for _, args := range [][]string{{"import", "--from", *from, file}, {"import", "--from", *from, file}, {"export", filepath.Join(dir, "out.xml")}} {
		cmd := exec.Command(*program, append([]string{"--config", filepath.Join(dir, "jackdaw.yaml"), "--data",
			filepath.Join(dir, "data")}, args...)...)
		cmd.Stderr = os.Stderr
		began := time.Now()
		if err := cmd.Run(); err != nil {
			log.Fatalf("%s: %v", args[0], err)
		}
		used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"command": args[0], "messages": *messages, "accounts": *accounts,
			"seconds": time.Since(began).Seconds(), "cpu_seconds": cmd.ProcessState.UserTime().Seconds() +
				cmd.ProcessState.SystemTime().Seconds(), "max_rss_mib": used.Maxrss / 1024})
	}
}

// write makes the file.
func write(name string, messages, accounts int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprint(out, "<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'>")
	at, text := time.Now().Add(-24*time.Hour*365), strings.Repeat("so shaken as we are, so wan with care ", 5)
	for a := range accounts {
		fmt.Fprintf(out, "<user name='u%d' password='x'><archive xmlns='urn:xmpp:pie:0#mam'>", a)
		for i := range messages / accounts {
			fmt.Fprintf(out, "<result xmlns='urn:xmpp:mam:2' id='%d-%d'><forwarded xmlns='urn:xmpp:forward:0'>"+
				"<delay xmlns='urn:xmpp:delay' stamp='%s'/><message xmlns='jabber:client' type='chat' id='m%d' "+
				"from='c%d@example.org/x' to='u%d@localhost'><body>%d %s</body></message></forwarded></result>\n", a, i,
				at.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339), i, i%50, a, i, text)
		}
		fmt.Fprint(out, "</archive></user>\n")
	}
	fmt.Fprint(out, "</host></server-data>\n")
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// dump makes the file as `ejabberdctl dump` writes it.
func dump(name string, messages, accounts int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprint(out, "{tables,[{passwd,[{attributes,[us,password]}]},\n"+
		"{archive_msg,[{attributes,[us,id,timestamp,peer,bare_peer,packet,nick,type]}]}]}.\n")
	at, text := time.Now().Add(-24*time.Hour*365), strings.Repeat("so shaken as we are, so wan with care ", 5)
	for a := range accounts {
		fmt.Fprintf(out, "{passwd,{<<\"u%d\">>,<<\"localhost\">>},<<\"x\">>}.\n", a)
	}
	indent := "\n" + strings.Repeat(" ", 20)
	for i := range messages {
		micro := at.Add(time.Duration(i) * time.Second).UnixMicro()
		fmt.Fprintf(out, "{archive_msg,{<<\"u%d\">>,<<\"localhost\">>},"+indent+"<<\"%d\">>,"+indent+"{%d,%d,%d},"+indent+
			"{<<\"c%d\">>,<<\"example.org\">>,<<\"x\">>},"+indent+"{<<\"c%[6]d\">>,<<\"example.org\">>,<<>>},"+indent+
			"{xmlel,<<\"message\">>,"+indent+"[{<<\"type\">>,<<\"chat\">>},"+indent+"{<<\"id\">>,<<\"m%d\">>},"+indent+
			"{<<\"from\">>,<<\"c%[6]d@example.org/x\">>},"+indent+"{<<\"to\">>,<<\"u%[1]d@localhost\">>},"+indent+
			"{<<\"xmlns\">>,<<\"jabber:client\">>}],"+indent+"[{xmlel,<<\"body\">>,[],[{xmlcdata,<<\"%[7]d %s\">>}]}]},"+indent+
			"<<>>,chat}.\n", i%accounts, micro, micro/1e12, micro/1e6%1e6, micro%1e6, i%50, i, text)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}
