// Command jackalpeer runs the jackal server, which the federation tests take as a peer. It is a
// module of its own, so that jackal is no dependency of ours.
//
// Beyond what jackal's own command does it asks the name server of the tests, whose
// address is in JACKALPEER_DNS, where other domains are, and makes the accounts that are
// named in JACKALPEER_USERS, with the password JACKALPEER_PASSWORD, through the
// administration port at JACKALPEER_ADMIN. When they are there, it prints "jackalpeer: ready".
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"github.com/ortuman/jackal/pkg/admin/pb"
	"github.com/ortuman/jackal/pkg/jackal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func main() {
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, os.Getenv("JACKALPEER_DNS"))
		},
	}
	go func() {
		if err := register(); err != nil {
			log.Fatal(err)
		}
		fmt.Println("jackalpeer: ready")
	}()
	if err := jackal.New(os.Stdout, os.Args).Run(); err != nil {
		log.Fatal(err)
	}
}

func register() error {
	ctx := context.Background() // who has started this ends it when it takes too long
	conn, err := grpc.DialContext(ctx, os.Getenv("JACKALPEER_ADMIN"), grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		return errors.New("jackalpeer: the administration port does not open")
	}
	defer conn.Close()
	users := pb.NewUsersClient(conn)
	for _, u := range strings.Fields(os.Getenv("JACKALPEER_USERS")) {
		_, err := users.CreateUser(ctx, &pb.CreateUserRequest{Username: u, Password: os.Getenv("JACKALPEER_PASSWORD")})
		if err != nil && status.Code(err) != codes.AlreadyExists { // there from before a restart
			return fmt.Errorf("create user %s: %w", u, err)
		}
	}
	return nil
}
