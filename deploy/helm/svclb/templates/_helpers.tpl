{{- define "svclb.labels" -}}
app.kubernetes.io/name: svclb
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* The agent's own file, whatever of it is in values.yaml. */ -}}
{{- define "svclb.config" -}}
apiVersion: svclb.io/v1alpha1
kind: AgentConfiguration
{{ toYaml .Values.config }}
{{- if .Values.podSockets }}
podSockets: "on"
{{- end }}
{{- end -}}
