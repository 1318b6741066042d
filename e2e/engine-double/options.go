package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// options is what the command line and the environment ask for.
type options struct {
	model             string
	names             []string // served model names; the first one stands in answers and metrics
	address           string
	tensorParallel    int
	maxModelLen       int // tokens
	maxNumSeqs        int
	shutdownTimeout   time.Duration
	forceIncludeUsage bool

	boot      time.Duration
	ttft      time.Duration
	interval  time.Duration // between two tokens
	maxTokens int
	fault     fault
}

// fault is what goes wrong on purpose. The zero value is none.
type fault struct {
	kind    string
	every   int
	message string
}

const (
	crashOnBoot   = "crash_on_boot"
	hangOnBoot    = "hang_on_boot"
	error500Every = "error_500_every"
	resetEvery    = "reset_every"
)

// aliases are the other spellings of options that vLLM takes.
var aliases = map[string]string{"-tp": "--tensor-parallel-size"}

// parseOptions reads vLLM's command line as far as it matters here, and the DOUBLE_ variables.
func parseOptions(arguments []string, getenv func(string) string) (options, error) {
	given := readArguments(arguments)
	o := options{model: given.last("--model"), names: given["--served-model-name"]}
	if o.model == "" {
		return o, fmt.Errorf("no model: expected it as the first argument")
	}
	if len(o.names) == 0 {
		o.names = []string{o.model}
	}
	_, o.forceIncludeUsage = given["--enable-force-include-usage"]

	var port, shutdownSeconds int
	for _, number := range []struct {
		name      string
		otherwise int
		into      *int
	}{
		{"--port", 8000, &port},
		{"--tensor-parallel-size", 1, &o.tensorParallel},
		{"--max-model-len", 8192, &o.maxModelLen},
		{"--max-num-seqs", 256, &o.maxNumSeqs},
		{"--shutdown-timeout", 0, &shutdownSeconds},
	} {
		*number.into = number.otherwise
		if text := given.last(number.name); text != "" {
			value, err := strconv.Atoi(text)
			if err != nil || value < 0 {
				return o, fmt.Errorf("%s is %q: expected a whole number", number.name, text)
			}
			*number.into = value
		}
	}
	o.address = fmt.Sprintf("%s:%d", given.last("--host"), port)
	o.shutdownTimeout = time.Duration(shutdownSeconds) * time.Second
	return o, o.readEnvironment(getenv)
}

func (o *options) readEnvironment(getenv func(string) string) error {
	number := func(name string, otherwise float64) (float64, error) {
		text := getenv(name)
		if text == "" {
			return otherwise, nil
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || !(value >= 0 && value <= 1e9) {
			return 0, fmt.Errorf("%s is %q: expected a number, 0 or more", name, text)
		}
		return value, nil
	}
	boot, err := number("DOUBLE_BOOT_SECONDS", 0)
	if err != nil {
		return err
	}
	ttft, err := number("DOUBLE_TTFT_MILLIS", 0)
	if err != nil {
		return err
	}
	rate, err := number("DOUBLE_TOKENS_PER_SECOND", 0)
	if err != nil {
		return err
	}
	tokens, err := number("DOUBLE_MAX_TOKENS", 16)
	if err != nil {
		return err
	}
	o.boot = time.Duration(boot * float64(time.Second))
	o.ttft = time.Duration(ttft * float64(time.Millisecond))
	if rate > 0 {
		o.interval = time.Duration(float64(time.Second) / rate)
	}
	o.maxTokens = max(1, int(tokens))
	o.fault, err = parseFault(getenv("DOUBLE_FAULT"))
	return err
}

func parseFault(text string) (fault, error) {
	kind, value, _ := strings.Cut(text, "=")
	f := fault{kind: kind}
	switch kind {
	case "", hangOnBoot:
	case crashOnBoot:
		f.message = value
	case error500Every, resetEvery:
		every, err := strconv.Atoi(value)
		if err != nil || every < 1 {
			return f, fmt.Errorf("DOUBLE_FAULT is %q: expected %s=N with N of 1 or more", text, kind)
		}
		f.every = every
	default:
		return f, fmt.Errorf("DOUBLE_FAULT is %q: expected %s=MESSAGE, %s, %s=N or %s=N",
			text, crashOnBoot, hangOnBoot, error500Every, resetEvery)
	}
	return f, nil
}

// given holds the values of each option by its long name with dashes.
type given map[string][]string

func (g given) last(name string) string {
	if values := g[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// readArguments takes --name=value, --name value..., and a model as the first argument.
func readArguments(arguments []string) given {
	found := given{}
	name := "--model"
	for _, argument := range arguments {
		if !strings.HasPrefix(argument, "-") {
			found[name] = append(found[name], argument)
			continue
		}
		var value string
		var inline bool
		name, value, inline = strings.Cut(argument, "=")
		name = strings.ReplaceAll(name, "_", "-")
		if alias := aliases[name]; alias != "" {
			name = alias
		}
		if inline {
			found[name] = append(found[name], value)
		} else if _, seen := found[name]; !seen {
			found[name] = nil
		}
	}
	return found
}
