// The baseline that the registry is measured against: a plain net/http server.
//
//	yardstick serve LISTEN CONTENT   blobs from CONTENT/blobs/sha256 by io.Copy, manifests from memory
//	yardstick relay LISTEN ORIGIN    blobs from ORIGIN through a 32 KiB io.CopyBuffer
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	mode, listen, from := os.Args[1], os.Args[2], os.Args[3]
	mux := http.NewServeMux()
	if mode == "relay" {
		mux.HandleFunc("/v2/", relay(from))
	} else {
		mux.HandleFunc("/v2/", serve(filepath.Join(from, "blobs", "sha256")))
	}
	log.Fatal(http.ListenAndServe(listen, mux))
}

func serve(blobs string) http.HandlerFunc {
	manifests := manifestsIn(blobs)
	return func(w http.ResponseWriter, r *http.Request) {
		digest := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		name := strings.TrimPrefix(digest, "sha256:")
		if strings.Contains(r.URL.Path, "/manifests/") {
			head(w, digest, "application/vnd.oci.image.manifest.v1+json", int64(len(manifests[name])))
			w.Write(manifests[name])
			return
		}
		file, err := os.Open(filepath.Join(blobs, name))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		head(w, digest, "application/octet-stream", info.Size())
		io.Copy(w, file)
	}
}

func relay(origin string) http.HandlerFunc {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	return func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, origin+r.URL.Path, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		head(w, answer.Header.Get("Docker-Content-Digest"), "application/octet-stream", answer.ContentLength)
		w.WriteHeader(answer.StatusCode)
		// Both ends are wrapped, so that the copy uses the buffer and not ReadFrom or WriteTo.
		io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{answer.Body}, make([]byte, 32<<10))
	}
}

func head(w http.ResponseWriter, digest, mediaType string, length int64) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.Header().Set("Docker-Content-Digest", digest)
}

// Any small file counts as a manifest.
func manifestsIn(blobs string) map[string][]byte {
	manifests := map[string][]byte{}
	entries, err := os.ReadDir(blobs)
	if err != nil {
		log.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || info.Size() > 64<<10 {
			continue
		}
		if manifests[entry.Name()], err = os.ReadFile(filepath.Join(blobs, entry.Name())); err != nil {
			log.Fatal(err)
		}
	}
	return manifests
}
