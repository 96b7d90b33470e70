// The baseline in Go: client_golang's own objects, gathered and encoded as promhttp does it.
//
// Reads the families and series as JSON from standard input, changes 1 % of them between two scrapes, and writes the
// CPU time of each scrape in seconds, and its bytes, by format. Debian's packages are built without modules:
// GO111MODULE=off GOPATH=/usr/share/gocode go build rendering.go
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

type family struct {
	Name    string
	Help    string
	Labels  []string
	Buckets []float64
}

type series struct {
	Family   string
	Labels   []string
	Value    float64
	Observed []float64
}

type task struct {
	Families []family
	Series   []series
	Rounds   int
}

type figure struct {
	Seconds []float64 `json:"seconds"`
	Bytes   int       `json:"bytes"`
}

func main() {
	var asked task
	must(json.NewDecoder(os.Stdin).Decode(&asked))
	registry := prometheus.NewRegistry()
	changes := build(registry, asked)
	found := map[string]figure{}
	for name, format := range map[string]expfmt.Format{"text": expfmt.FmtText, "OpenMetrics": expfmt.FmtOpenMetrics} {
		for _, compressed := range []bool{false, true} {
			label := name
			if compressed {
				label += ", gzip"
			}
			found[label] = measured(registry, format, compressed, changes, asked.Rounds)
		}
	}
	must(json.NewEncoder(os.Stdout).Encode(found))
}

func build(registry *prometheus.Registry, asked task) []func() {
	counters := map[string]*prometheus.CounterVec{}
	histograms := map[string]*prometheus.HistogramVec{}
	for _, each := range asked.Families {
		if len(each.Buckets) > 0 {
			options := prometheus.HistogramOpts{Name: each.Name, Help: each.Help, Buckets: each.Buckets}
			histograms[each.Name] = prometheus.NewHistogramVec(options, each.Labels)
			registry.MustRegister(histograms[each.Name])
		} else {
			counters[each.Name] = prometheus.NewCounterVec(prometheus.CounterOpts{Name: each.Name, Help: each.Help}, each.Labels)
			registry.MustRegister(counters[each.Name])
		}
	}
	var changes []func()
	for _, each := range asked.Series {
		if vector, found := counters[each.Family]; found {
			child := vector.WithLabelValues(each.Labels...)
			child.Add(each.Value)
			changes = append(changes, func() { child.Add(0.0001) })
		} else {
			child := histograms[each.Family].WithLabelValues(each.Labels...)
			for _, value := range each.Observed {
				child.Observe(value)
			}
			changes = append(changes, func() { child.Observe(0.0001) })
		}
	}
	return changes
}

func measured(registry *prometheus.Registry, format expfmt.Format, compressed bool, changes []func(), rounds int) figure {
	var found figure
	for round := 0; round < rounds; round++ {
		for place := round % 100; place < len(changes); place += 100 {
			changes[place]()
		}
		var page bytes.Buffer
		began := cpuSeconds()
		scrape(registry, format, compressed, &page)
		found.Seconds = append(found.Seconds, cpuSeconds()-began)
		found.Bytes = page.Len()
	}
	return found
}

func scrape(registry *prometheus.Registry, format expfmt.Format, compressed bool, page io.Writer) {
	families, err := registry.Gather()
	must(err)
	if compressed {
		packer := gzip.NewWriter(page)
		defer packer.Close()
		page = packer
	}
	encoder := expfmt.NewEncoder(page, format)
	for _, each := range families {
		must(encoder.Encode(each))
	}
	if closer, found := encoder.(expfmt.Closer); found {
		must(closer.Close())
	}
}

// All threads: the garbage collector's too.
func cpuSeconds() float64 {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	user, system := used.Utime, used.Stime
	return float64(user.Sec+system.Sec) + float64(user.Usec+system.Usec)/1e6
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
