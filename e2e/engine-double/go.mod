module tertium.dev/e2e/engine-double

go 1.25
