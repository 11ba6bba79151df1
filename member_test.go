package shingle

import "testing"

func TestMember_MultiRegionKeyIsOneKey(t *testing.T) {
	m := Member{MasterKeys: []string{"arn:aws:kms:us-west-2:111122223333:key/mrk-1234abcd", "arn:aws:kms:us-west-2:111122223333:key/abcd"}}
	for id, want := range map[string]bool{
		"": true, "arn:aws:kms:eu-central-1:111122223333:key/mrk-1234abcd": true, "arn:aws:kms:us-west-2:111122223333:key/abcd": true,
		"arn:aws:kms:eu-central-1:111122223333:key/abcd": false, "arn:aws:kms:eu-central-1:444455556666:key/mrk-1234abcd": false, "file-1": false,
	} {
		if m.Opens(id) != want {
			t.Errorf("%s: %t", id, !want)
		}
	}
}
