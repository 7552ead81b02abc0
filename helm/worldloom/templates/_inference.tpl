{{/*
The inference deployments: one for the release that is served, one for a candidate if there is one.
Returns a JSON list of {part, release, path, replicas, share}; a release never becomes another's pods.
*/}}
{{- define "worldloom.served" -}}
{{- $served := list -}}
{{- if .Values.inference.enabled -}}
{{- $candidate := .Values.release.candidate -}}
{{- $share := ternary $candidate.share 0 (ne $candidate.uri "") | float64 -}}
{{- $served = append $served (dict "part" "inference" "release" .Values.release "path" "release" "replicas" .Values.inference.replicas "share" (subf 1 $share)) -}}
{{- if $candidate.uri -}}
{{- $served = append $served (dict "part" "candidate" "release" $candidate "path" "release.candidate" "replicas" $candidate.replicas "share" $share) -}}
{{- end -}}
{{- end -}}
{{- toJson $served -}}
{{- end -}}

{{/* Address and digest of a release that agree with each other; `path` is where in the values it stands. */}}
{{- define "worldloom.checkRelease" -}}
{{- $uri := required (printf "%s.uri: expected the address of a release, s3://<bucket>/<prefix>/artifacts/<hex>" .path) .release.uri -}}
{{- $digest := required (printf "%s.digest: expected the digest of the release, sha256:<hex>" .path) .release.digest -}}
{{- if not (hasSuffix (printf "/%s" (trimPrefix "sha256:" $digest)) $uri) -}}
{{- fail (printf "%s.uri: %s does not end in the digits of %s.digest %s" .path $uri .path $digest) -}}
{{- end -}}
{{- end -}}
