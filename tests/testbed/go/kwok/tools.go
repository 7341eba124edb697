//go:build tools

// Package kwok pins the version of the fake kubelets that the test bed builds.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
