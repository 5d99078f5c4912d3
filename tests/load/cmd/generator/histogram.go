package main

import (
	"math"
	"math/bits"
	"time"
)

// histogram counts durations in buckets of at most 3 % relative width, from 1 µs to about 4 hours.
type histogram struct {
	counts  [1024]uint64
	total   uint64
	longest time.Duration
}

const subBuckets = 32

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < subBuckets {
		return int(us)
	}
	exponent := bits.Len64(us) - 6
	return min(subBuckets*(exponent+1)+int(us>>exponent)-subBuckets, 1023)
}

// upperBound returns the largest duration of a bucket.
func upperBound(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket) * time.Microsecond
	}
	exponent := bucket/subBuckets - 1
	us := (uint64(bucket%subBuckets)+subBuckets+1)<<exponent - 1
	return time.Duration(us) * time.Microsecond
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.longest = max(h.longest, d)
}

func (h *histogram) merge(other *histogram) {
	for bucket, count := range other.counts {
		h.counts[bucket] += count
	}
	h.total += other.total
	h.longest = max(h.longest, other.longest)
}

// quantile returns the duration within which a share of all is (nearest rank, upper bound).
func (h *histogram) quantile(share float64) time.Duration {
	rank := uint64(math.Ceil(share * float64(h.total)))
	var seen uint64
	for bucket, count := range h.counts {
		seen += count
		if seen >= rank && seen > 0 {
			return min(upperBound(bucket), h.longest)
		}
	}
	return 0
}

type latency struct {
	Count   uint64       `json:"count"`
	P50     float64      `json:"p50_ms"`
	P90     float64      `json:"p90_ms"`
	P99     float64      `json:"p99_ms"`
	P999    float64      `json:"p999_ms"`
	Max     float64      `json:"max_ms"`
	Buckets [][2]float64 `json:"buckets_ms_count"`
}

func (h *histogram) summary() latency {
	ms := func(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/10) / 100 }
	found := latency{
		Count: h.total, P50: ms(h.quantile(0.5)), P90: ms(h.quantile(0.9)),
		P99: ms(h.quantile(0.99)), P999: ms(h.quantile(0.999)), Max: ms(h.longest),
	}
	for bucket, count := range h.counts {
		if count > 0 {
			bound := float64(upperBound(bucket).Microseconds()) / 1000
			found.Buckets = append(found.Buckets, [2]float64{bound, float64(count)})
		}
	}
	return found
}
