// SPDX-License-Identifier: Apache-2.0

package imagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
)

// Push uploads an image to a registry, as the OCI distribution specification has it (a single POST for each blob). base is
// the registry's URL, without a path; client may add credentials.
func Push(ctx context.Context, client *http.Client, base, repository, tag string, img *Image) error {
	for _, blob := range append([]Blob{img.Config}, img.Layers...) {
		if err := PushBlob(ctx, client, base, repository, blob); err != nil {
			return err
		}
	}
	return PushManifest(ctx, client, base, repository, tag, img.Manifest)
}

// PushBlob uploads a layer or a configuration.
func PushBlob(ctx context.Context, client *http.Client, base, repository string, blob Blob) error {
	url := fmt.Sprintf("%s/v2/%s/blobs/uploads/?digest=%s", base, repository, blob.Digest)
	return send(ctx, client, http.MethodPost, url, "application/octet-stream", blob.Data)
}

// PushManifest uploads a manifest or an index under a tag or a digest.
func PushManifest(ctx context.Context, client *http.Client, base, repository, tag string, blob Blob) error {
	return send(ctx, client, http.MethodPut, base+"/v2/"+repository+"/manifests/"+tag, blob.MediaType, blob.Data)
}

func send(ctx context.Context, client *http.Client, method, url, mediaType string, data []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, body)
	}
	return nil
}
