// The AWS SDK for Go v2 and minio-go behind the verbs of tests/rig/clients/lines.py: where to in the first line, then one
// JSON request a line in, one reply a line out. Built against Debian's packages of both, without modules.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"
	minioCredentials "github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	part  = 5 << 20
	whole = 128 << 20
	limit = 5 * time.Minute // of one request, and of presigned URLs
)

type target struct {
	Endpoint  string `json:"endpoint"`
	Region    string `json:"region"`
	Bucket    string `json:"bucket"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	CA        string `json:"ca"`
}

type request struct {
	Verb      string            `json:"verb"`
	Key       string            `json:"key"`
	Source    string            `json:"source"`
	Body      string            `json:"body"`
	Into      string            `json:"into"`
	Prefix    string            `json:"prefix"`
	Algorithm string            `json:"algorithm"`
	Metadata  map[string]string `json:"metadata"`
	First     int64             `json:"first"`
	Last      int64             `json:"last"`
	Keys      []string          `json:"keys"`
}

type verb func(context.Context, request) (any, error)

func transport(to target) *http.Transport {
	made := http.DefaultTransport.(*http.Transport).Clone()
	if to.CA != "" {
		pem, err := os.ReadFile(to.CA)
		if err != nil {
			panic(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		made.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return made
}

func save(from io.Reader, into string) error {
	sink, err := os.Create(into)
	if err != nil {
		return err
	}
	if _, err = io.Copy(sink, from); err != nil {
		sink.Close()
		return err
	}
	return sink.Close()
}

// A reader that tells nobody its length, nor seeks.
type pipe struct{ io.Reader }

func awsVerbs(to target) map[string]verb {
	client := s3.New(s3.Options{
		Region:           to.Region,
		Credentials:      credentials.NewStaticCredentialsProvider(to.AccessKey, to.SecretKey, ""),
		EndpointResolver: s3.EndpointResolverFromURL(to.Endpoint, func(e *aws.Endpoint) { e.HostnameImmutable = true }),
		UsePathStyle:     true,
		Retryer:          aws.NopRetryer{},
		HTTPClient:       &http.Client{Transport: transport(to)},
	})
	presigner := s3.NewPresignClient(client, s3.WithPresignExpires(limit))
	uploader := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize = part })
	bucket := aws.String(to.Bucket)
	put := func(ctx context.Context, r request, more func(*s3.PutObjectInput)) (any, error) {
		source, err := os.Open(r.Body)
		if err != nil {
			return nil, err
		}
		defer source.Close()
		input := &s3.PutObjectInput{Bucket: bucket, Key: &r.Key, Body: source, Metadata: r.Metadata}
		more(input)
		_, err = client.PutObject(ctx, input)
		return nil, err
	}
	upload := func(ctx context.Context, r request, dress func(io.Reader) io.Reader) (any, error) {
		source, err := os.Open(r.Body)
		if err != nil {
			return nil, err
		}
		defer source.Close()
		_, err = uploader.Upload(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &r.Key, Body: dress(source)})
		return nil, err
	}
	return map[string]verb{
		"put": func(ctx context.Context, r request) (any, error) {
			return put(ctx, r, func(*s3.PutObjectInput) {})
		},
		"put_buffer": func(ctx context.Context, r request) (any, error) {
			held, err := os.ReadFile(r.Body)
			if err != nil {
				return nil, err
			}
			return put(ctx, r, func(input *s3.PutObjectInput) { input.Body = bytes.NewReader(held) })
		},
		"put_pipe": func(ctx context.Context, r request) (any, error) {
			return upload(ctx, r, func(source io.Reader) io.Reader { return pipe{source} })
		},
		"put_checked": func(ctx context.Context, r request) (any, error) {
			return put(ctx, r, func(input *s3.PutObjectInput) {
				input.ChecksumAlgorithm = types.ChecksumAlgorithm(r.Algorithm)
			})
		},
		"multipart": func(ctx context.Context, r request) (any, error) {
			return upload(ctx, r, func(source io.Reader) io.Reader { return source })
		},
		"get": func(ctx context.Context, r request) (any, error) {
			// asks for the checksum, and verifies it where there is one
			reply, err := client.GetObject(ctx, &s3.GetObjectInput{
				Bucket: bucket, Key: &r.Key, ChecksumMode: types.ChecksumModeEnabled,
			})
			if err != nil {
				return nil, err
			}
			defer reply.Body.Close()
			return nil, save(reply.Body, r.Into)
		},
		"head": func(ctx context.Context, r request) (any, error) {
			reply, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: &r.Key})
			if err != nil {
				return nil, err
			}
			return []any{reply.ContentLength, reply.Metadata}, nil
		},
		"delete": func(ctx context.Context, r request) (any, error) {
			_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: &r.Key})
			return nil, err
		},
		"list": func(ctx context.Context, r request) (any, error) {
			pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &r.Prefix, MaxKeys: 3})
			keys := []string{}
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, entry := range page.Contents {
					keys = append(keys, *entry.Key)
				}
			}
			return keys, nil
		},
		"copy": func(ctx context.Context, r request) (any, error) {
			source := to.Bucket + "/" + strings.ReplaceAll(url.QueryEscape(r.Source), "+", "%20")
			_, err := client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: &r.Key, CopySource: &source})
			return nil, err
		},
		"range": func(ctx context.Context, r request) (any, error) {
			span := fmt.Sprintf("bytes=%d-%d", r.First, r.Last)
			reply, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &r.Key, Range: &span})
			if err != nil {
				return nil, err
			}
			defer reply.Body.Close()
			found, err := io.ReadAll(reply.Body)
			return base64.StdEncoding.EncodeToString(found), err
		},
		"presign_get": func(ctx context.Context, r request) (any, error) {
			made, err := presigner.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &r.Key})
			if err != nil {
				return nil, err
			}
			return made.URL, nil
		},
		"presign_put": func(ctx context.Context, r request) (any, error) {
			made, err := presigner.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &r.Key})
			if err != nil {
				return nil, err
			}
			return made.URL, nil
		},
		"delete_many": func(ctx context.Context, r request) (any, error) {
			wanted := types.Delete{}
			for _, key := range r.Keys {
				wanted.Objects = append(wanted.Objects, types.ObjectIdentifier{Key: aws.String(key)})
			}
			reply, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &wanted})
			if err == nil && len(reply.Errors) > 0 {
				err = fmt.Errorf("%s: %s", *reply.Errors[0].Key, *reply.Errors[0].Message)
			}
			return nil, err
		},
	}
}

func minioVerbs(to target) map[string]verb {
	where, err := url.Parse(to.Endpoint)
	if err != nil {
		panic(err)
	}
	minio.MaxRetry = 1
	client, err := minio.New(where.Host, &minio.Options{
		Creds:        minioCredentials.NewStaticV4(to.AccessKey, to.SecretKey, ""),
		Secure:       where.Scheme == "https",
		Region:       to.Region,
		BucketLookup: minio.BucketLookupPath,
		Transport:    transport(to),
	})
	if err != nil {
		panic(err)
	}
	put := func(ctx context.Context, r request, options minio.PutObjectOptions) (any, error) {
		options.UserMetadata = r.Metadata
		_, err := client.FPutObject(ctx, to.Bucket, r.Key, r.Body, options)
		return nil, err
	}
	return map[string]verb{
		"put": func(ctx context.Context, r request) (any, error) {
			return put(ctx, r, minio.PutObjectOptions{PartSize: whole})
		},
		"put_buffer": func(ctx context.Context, r request) (any, error) {
			held, err := os.ReadFile(r.Body)
			if err != nil {
				return nil, err
			}
			options := minio.PutObjectOptions{PartSize: whole}
			_, err = client.PutObject(ctx, to.Bucket, r.Key, bytes.NewReader(held), int64(len(held)), options)
			return nil, err
		},
		"put_pipe": func(ctx context.Context, r request) (any, error) {
			source, err := os.Open(r.Body)
			if err != nil {
				return nil, err
			}
			defer source.Close()
			_, err = client.PutObject(ctx, to.Bucket, r.Key, pipe{source}, -1, minio.PutObjectOptions{PartSize: part})
			return nil, err
		},
		"multipart": func(ctx context.Context, r request) (any, error) {
			return put(ctx, r, minio.PutObjectOptions{PartSize: part})
		},
		"get": func(ctx context.Context, r request) (any, error) {
			found, err := client.GetObject(ctx, to.Bucket, r.Key, minio.GetObjectOptions{})
			if err != nil {
				return nil, err
			}
			defer found.Close()
			return nil, save(found, r.Into)
		},
		"head": func(ctx context.Context, r request) (any, error) {
			found, err := client.StatObject(ctx, to.Bucket, r.Key, minio.StatObjectOptions{})
			if err != nil {
				return nil, err
			}
			return []any{found.Size, found.UserMetadata}, nil
		},
		"delete": func(ctx context.Context, r request) (any, error) {
			return nil, client.RemoveObject(ctx, to.Bucket, r.Key, minio.RemoveObjectOptions{})
		},
		"list": func(ctx context.Context, r request) (any, error) {
			keys := []string{}
			options := minio.ListObjectsOptions{Prefix: r.Prefix, Recursive: true, MaxKeys: 3}
			for entry := range client.ListObjects(ctx, to.Bucket, options) {
				if entry.Err != nil {
					return nil, entry.Err
				}
				keys = append(keys, entry.Key)
			}
			return keys, nil
		},
		"copy": func(ctx context.Context, r request) (any, error) {
			_, err := client.CopyObject(ctx,
				minio.CopyDestOptions{Bucket: to.Bucket, Object: r.Key},
				minio.CopySrcOptions{Bucket: to.Bucket, Object: r.Source})
			return nil, err
		},
		"range": func(ctx context.Context, r request) (any, error) {
			options := minio.GetObjectOptions{}
			if err := options.SetRange(r.First, r.Last); err != nil {
				return nil, err
			}
			found, err := client.GetObject(ctx, to.Bucket, r.Key, options)
			if err != nil {
				return nil, err
			}
			defer found.Close()
			held, err := io.ReadAll(found)
			return base64.StdEncoding.EncodeToString(held), err
		},
		"presign_get": func(ctx context.Context, r request) (any, error) {
			made, err := client.PresignedGetObject(ctx, to.Bucket, r.Key, limit, nil)
			if err != nil {
				return nil, err
			}
			return made.String(), nil
		},
		"presign_put": func(ctx context.Context, r request) (any, error) {
			made, err := client.PresignedPutObject(ctx, to.Bucket, r.Key, limit)
			if err != nil {
				return nil, err
			}
			return made.String(), nil
		},
		"delete_many": func(ctx context.Context, r request) (any, error) {
			wanted := make(chan minio.ObjectInfo, len(r.Keys))
			for _, key := range r.Keys {
				wanted <- minio.ObjectInfo{Key: key}
			}
			close(wanted)
			for failed := range client.RemoveObjects(ctx, to.Bucket, wanted, minio.RemoveObjectsOptions{}) {
				return nil, failed.Err
			}
			return nil, nil
		},
	}
}

func answer(verbs map[string]verb, r request) map[string]any {
	call, known := verbs[r.Verb]
	if !known {
		return map[string]any{"cannot": "has no " + strings.ReplaceAll(r.Verb, "_", " ")}
	}
	ctx, end := context.WithTimeout(context.Background(), limit)
	defer end()
	value, err := call(ctx, r)
	if err != nil {
		return map[string]any{"error": fmt.Sprintf("%.300s", err.Error())}
	}
	return map[string]any{"value": value}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	var to target
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &to) != nil {
		panic("the first line does not say where to")
	}
	verbs := map[string]func(target) map[string]verb{"aws": awsVerbs, "minio": minioVerbs}[os.Args[1]](to)
	replies := json.NewEncoder(os.Stdout)
	replies.SetEscapeHTML(false)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			panic(err)
		}
		if err := replies.Encode(answer(verbs, r)); err != nil {
			return
		}
	}
}
