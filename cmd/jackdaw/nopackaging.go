//go:build !packaging

package main

import "github.com/spf13/cobra"

func addPackaging(*cobra.Command) {}
