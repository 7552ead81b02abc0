{{/* Whether there is a gateway: it is wanted, and there are engines for it. */}}
{{- define "worldloom.hasGateway" -}}
{{- if and .Values.gateway.enabled (or .Values.inference.enabled .Values.gateway.settings.backends) -}}
true
{{- end -}}
{{- end -}}

{{/* The gateway's configuration as JSON: its settings, the chart's own engines first. */}}
{{- define "worldloom.gatewaySettings" -}}
{{- $settings := .Values.gateway.settings -}}
{{- if eq $settings.auth "none" -}}
{{- fail "gateway.settings.auth: none is for a gateway on the loopback interface, expected keys" -}}
{{- end -}}
{{- if not (or .Values.gateway.keysSecret $settings.keys) -}}
{{- fail "gateway.keysSecret: expected the name of a secret with the key keys.json, or keys in gateway.settings.keys" -}}
{{- end -}}
{{- $backends := list -}}
{{- range $served := include "worldloom.served" . | fromJsonArray -}}
{{- $name := include "worldloom.podsName" (dict "root" $ "part" $served.part) -}}
{{- $backends = append $backends (dict "address" (printf "dns://%s:8001" $name) "model_version" $served.release.version "release" $served.release.digest "share" $served.share) -}}
{{- end -}}
{{- toPrettyJson (merge (dict "backends" (concat $backends $settings.backends)) $settings) -}}
{{- end -}}

{{/* The port of a URL, which may leave it to its scheme. */}}
{{- define "worldloom.portOf" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $port | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}
