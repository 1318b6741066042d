module tertium.dev/e2e/bench/loadgen

go 1.25
